"""A lane's step on static buffers against Lightning's run, bit for bit, with changing learning rates, resume and company."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from weightgen.batches import PairBatches, Pairs, Texts
from weightgen.errors import WeightgenError
from weightgen.lanes import Lanes
from weightgen.translation.lane import GanLane, flat
from weightgen.translation.lora import LoraSpec, inject_lora
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.nets.patchgan import PatchDiscriminator
from weightgen.translation.nets.unet import UNetGenerator
from weightgen.translation.training import TranslatorModule

STEPS, SIZE = 7, 16
ADAM = partial(torch.optim.Adam, lr=2e-3, betas=(0.5, 0.999))
ADAMW = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1)


def batches(seed: int = 3) -> PairBatches:
    noise = torch.Generator().manual_seed(seed)
    photos, edits = torch.randint(0, 256, (2, 6, 3, SIZE, SIZE), generator=noise, dtype=torch.uint8)
    texts = Texts(torch.randn(2, 3, 6, generator=noise), torch.ones(2, 3, dtype=torch.bool), [[0, 1]])
    return PairBatches(Pairs(photos, [edits]), texts, 2, seed=seed, steps=STEPS)


def module(kind: str = "b", adversarial: bool = True, optimizer=ADAM) -> TranslatorModule:
    """Rates that warm up and fall; a batch norm in the U-Net; a weight decay in the discriminator's optimizer."""
    torch.manual_seed(0)
    generator = UNetGenerator((8, 8)) if kind == "unet" else E2GANGenerator(6, width=8, heads=2)
    if kind in ("b", "ab"):
        ranks = {"down": 2, "transformer": 2, "up": 2, "out": 1}
        generator = inject_lora(generator.eval(), LoraSpec(ranks, train=kind))
    discriminator = PatchDiscriminator(8, 1) if adversarial else None
    schedule = {"warmup_steps": 2, "decay_start": 0.5, "max_steps": STEPS}
    decay = 0.9 if kind == "unet" else 0.0  # with an average of weights, too
    return TranslatorModule(
        generator, discriminator, optimizer, **schedule, discriminator_optimizer=ADAMW, ema_decay=decay
    )


def by_lightning(trained: TranslatorModule, seed: int = 3) -> list[dict[str, float]]:
    """The losses of all steps."""
    losses = []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer, trained, *args) -> None:
            losses.append({name: float(value) for name, value in trained.last_losses.items()})

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(accelerator="cpu", max_epochs=1, callbacks=[Record()], **quiet).fit(trained, batches(seed))
    return losses


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize(("kind", "adversarial"), [("b", True), ("ab", True), ("all", False), ("unet", True)])
def test_a_lane_s_step_is_lightning_s_bit_for_bit(kind: str, adversarial: bool) -> None:
    alone, lane = module(kind, adversarial), GanLane(module(kind, adversarial), batches())
    losses = by_lightning(alone)
    lane.advance(3)
    lane.advance(100)  # ends where its steps end
    assert lane.done == STEPS
    assert_equal(lane.module.state_dict(), alone.state_dict())
    found = [dict(zip((f"train/{name}" for name in lane.losses), row, strict=True)) for row in lane.history.tolist()]
    assert found == losses


def test_a_lane_goes_on_from_a_state_as_if_it_had_not_stopped() -> None:
    whole, first = GanLane(module("unet"), batches()), GanLane(module("unet"), batches())
    whole.advance(STEPS)
    first.advance(4)
    saved = {name: value.clone() for name, value in first.state().items()}
    first.advance(1)  # what comes after the state is forgotten
    other = module("unet")
    nn.init.zeros_(next(other.generator.parameters()))  # what it starts from does not matter
    second = GanLane(other, batches())
    second.load_state(saved)
    assert second.done == 4
    second.advance(STEPS)
    assert_equal(second.state(), whole.state())


def test_lanes_side_by_side_are_runs_of_their_own() -> None:
    lanes, kinds = Lanes("cpu"), ["b", "unet", "b"]
    made = [GanLane(module(kind), batches(seed)) for seed, kind in enumerate(kinds)]
    for lane in made[:2]:
        lanes.add(lane)
    lanes.advance(3)
    lanes.add(made[2])
    lanes.advance(STEPS - 3)
    lanes.remove(made[0])
    lanes.advance(3)
    assert [lane.done for lane in made] == [STEPS] * 3
    for seed, (kind, lane) in enumerate(zip(kinds, made, strict=True)):
        alone = module(kind)
        by_lightning(alone, seed)
        assert_equal(lane.module.state_dict(), alone.state_dict())


@pytest.mark.parametrize("shared", [True, False])
def test_a_lane_of_several_concepts_takes_the_pairs_that_lightning_takes(shared: bool) -> None:
    noise = torch.Generator().manual_seed(5)

    def pictures(count: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=noise, dtype=torch.uint8)

    counts = [4, 4, 4] if shared else [3, 5, 4]
    sources = pictures(4) if shared else [pictures(count) for count in counts]
    texts = Texts(torch.randn(4, 3, 6, generator=noise), torch.ones(4, 3, dtype=torch.bool), [[0, 1], [2], [3]])
    drawn = PairBatches(Pairs(sources, [pictures(count) for count in counts]), texts, 5, seed=1, steps=STEPS)
    (photos, edits), picks = flat(drawn)
    assert len(photos) == (4 if shared else 12)
    for step, (source, target, text) in enumerate(picks):
        batch = drawn.batch(step)
        assert torch.equal(photos[source], batch["source"])
        assert torch.equal(edits[target], batch["target"])
        assert torch.equal(texts.tokens[text], batch["tokens"])


def test_a_lane_waits_where_it_is_told_to() -> None:
    lane = GanLane(module(), batches())
    lane.stop = 2
    lane.advance(5)
    assert lane.done == int(lane.counter) == 2
    lane.stop = STEPS
    lane.advance(100)
    assert lane.done == STEPS


def test_half_precision_keeps_weights_and_losses_near() -> None:
    """bfloat16 has 8 bits: the first loss is within a percent, and weights stay float32."""
    exact, half = GanLane(module("all"), batches()), GanLane(module("all"), batches(), half=True)
    for lane in (exact, half):
        lane.advance(1)
    assert float(half.history[0, 0]) == pytest.approx(float(exact.history[0, 0]), rel=0.01)
    assert float(half.history[0, 0]) != float(exact.history[0, 0])
    assert {p.dtype for p in half.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("optimizer", [partial(torch.optim.SGD, lr=0.1), partial(torch.optim.Adam, amsgrad=True)])
def test_an_optimizer_without_a_static_form_is_refused(optimizer) -> None:
    with pytest.raises(WeightgenError, match=r"use fleet\.size=1 strategy\.graphs=false"):
        GanLane(module(optimizer=optimizer), batches())

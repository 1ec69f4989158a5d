"""A fleet equals one-at-a-time TranslatorModule runs, whoever enters, finishes, diverges or is interrupted."""

import copy
import io
import sys
from functools import cache, partial

import pytest
import pytorch_lightning as pl
import torch

from weightgen.data.fleet_batches import FleetBatches
from weightgen.data.pairs import PairBatches
from weightgen.errors import WeightgenError
from weightgen.translation import (
    E2GANGenerator,
    LoraSpec,
    PatchDiscriminator,
    TranslatorModule,
    UNetGenerator,
    inject_lora,
    lora_state,
)
from weightgen.translation.fleet import FleetModule, FleetResult, FleetSteps
from weightgen.translation.stacked_discriminator import FORMS, StackedDiscriminator

# at 5 times this rate a solo run itself moves by 1e-2 in 20 steps when its base is perturbed by 1e-7
ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))
ADAM_D = partial(torch.optim.AdamW, lr=1e-3, betas=(0.5, 0.999), weight_decay=0.1)
NAMES = ["red", "green", "blue"]
RANKS = {"down": 2, "transformer": 2, "up": 2, "out": 2}
SCHEDULE = {"warmup_steps": 3, "decay_start": 0.5}
PROMPTS = [[0], [1, 2], [3]]
SEEDS = [5, 5, 9]
BATCH = 2


@cache
def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """photos (5, 3, 16, 16), targets (3, 5, ...), tokens (4, 3, 8), mask (4, 3)."""
    noise = torch.Generator().manual_seed(1)
    photos = torch.randint(0, 256, (5, 3, 16, 16), generator=noise, dtype=torch.uint8)
    targets = torch.stack([255 - photos, photos.roll(1, 1), photos // 2])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]).bool()
    return photos, targets, torch.randn(4, 3, 8, generator=noise), mask


@cache
def base() -> E2GANGenerator:
    torch.manual_seed(0)
    return E2GANGenerator(8, width=8, heads=2, resnet_blocks=1).eval()


def discriminator(name: str) -> PatchDiscriminator:
    """Each concept's own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(NAMES.index(name))
        return PatchDiscriminator(8, 1)


def spec(train: str, concept: int = 0, own: bool = False) -> LoraSpec:
    return LoraSpec(RANKS, alpha=3.0, train=train, seed=concept if own else 0)


def trainer() -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@cache
def solo(concept: int, steps: int, train: str = "b", gan: bool = True, own: bool = False):
    """The weights that one TranslatorModule run gives."""
    photos, targets, tokens, mask = data()
    batches = PairBatches(
        photos,
        [targets[concept]],
        tokens,
        mask,
        [PROMPTS[concept]],
        BATCH,
        SEEDS[concept],
        steps=steps,
    )
    module = TranslatorModule(
        inject_lora(base(), spec(train, concept, own)),
        discriminator(NAMES[concept]) if gan else None,
        ADAM,
        discriminator_optimizer=ADAM_D,
        max_steps=steps,
        **SCHEDULE,
    )
    trainer().fit(module, batches)
    return lora_state(module.generator)


def fleet(
    steps: dict[str, int], train: str = "b", gan: bool = True, **options
) -> tuple[FleetModule, dict[str, FleetResult]]:
    photos, targets, tokens, mask = data()
    results: dict[str, FleetResult] = {}
    numbers = [NAMES.index(name) for name in steps]
    batches = FleetBatches(
        photos,
        [targets[n] for n in numbers],
        tokens,
        mask,
        [PROMPTS[n] for n in numbers],
        BATCH,
        [SEEDS[n] for n in numbers],
    )
    options = {"size": 3, "discriminator": discriminator if gan else None, **SCHEDULE, **options}
    module = FleetModule(
        base(),
        spec(train),
        steps,
        options.pop("batches", batches),
        ADAM,
        lambda result: results.update({result.name: result}),
        discriminator_optimizer=ADAM_D,
        **options,
    )
    return module, results


def run(module: FleetModule) -> None:
    for step in FleetSteps(module):
        module.training_step(step, step)


def assert_solo(results: dict[str, FleetResult], steps: dict[str, int], **options) -> None:
    assert results.keys() == steps.keys()
    for name, count in steps.items():
        expected = solo(NAMES.index(name), count, **options)
        assert results[name].steps == count
        assert results[name].state.keys() == expected.keys()
        for factor, weight in expected.items():
            torch.testing.assert_close(results[name].state[factor], weight, atol=1e-4, rtol=0, msg=factor)


TWENTY = dict.fromkeys(NAMES, 20)


@pytest.mark.parametrize("gan", [True, False], ids=["gan", "l1"])
@pytest.mark.parametrize("train", ["ab", "b"])
def test_twenty_steps_equal_one_at_a_time(train, gan):
    module, results = fleet(TWENTY, train, gan)
    trainer().fit(module, FleetSteps(module))
    assert_solo(results, TWENTY, train=train, gan=gan)
    names = {"train/l1"} | ({"train/gan", "train/discriminator"} if gan else set())
    assert set(module.last_losses) == names
    start = module.stacked.zero(1)
    moved = max(float((w - start[n][0]).abs().max()) for n, w in results["red"].state.items())
    assert moved > 50 * 1e-4  # the tolerance is small beside what was learnt


def test_in_double_precision_it_is_the_same_after_long_training(monkeypatch):
    """Rounding grows chaotically with steps; in float64 it has no time to, and any other difference would show."""
    here = sys.modules[__name__]
    for name in ("module", "fleet"):
        monkeypatch.setattr(f"weightgen.translation.{name}.to_signed", lambda x: x.double() / 127.5 - 1)
    doubled, single = copy.deepcopy(base()).double(), discriminator
    monkeypatch.setattr(here, "base", lambda: doubled)
    monkeypatch.setattr(here, "discriminator", lambda name: single(name).double())
    photos, targets, tokens, mask = data()
    monkeypatch.setattr(here, "data", lambda: (photos, targets, tokens.double(), mask))
    monkeypatch.setattr(here, "ADAM", partial(torch.optim.Adam, lr=5e-3, betas=(0.5, 0.999)))
    steps = dict.fromkeys(NAMES, 60)
    module, results = fleet(steps, "ab")
    run(module)
    for concept, name in enumerate(NAMES):
        for factor, weight in solo.__wrapped__(concept, 60, "ab").items():
            torch.testing.assert_close(results[name].state[factor], weight, atol=1e-6, rtol=0, msg=factor)


@pytest.mark.parametrize("form", ["grouped", "vmap"])  # loop is the CPU's default
def test_every_form_of_the_discriminators_trains_the_same(form):
    module, results = fleet(TWENTY, "ab", form=form)
    assert module.stacked.grouped
    run(module)
    assert_solo(results, TWENTY, train="ab")


def test_concepts_enter_late_and_leave_when_finished():
    steps = {"red": 4, "green": 9, "blue": 12}  # blue takes red's place
    module, results = fleet(steps, size=2)
    assert FleetSteps(module).steps == 16
    sizes = []
    for step in FleetSteps(module):
        module.training_step(step, step)
        sizes.append(len(module.roster.members))
    assert sizes == [2] * 8 + [1] * 7 + [0]
    assert list(results) == ["red", "green", "blue"]
    assert_solo(results, steps)
    assert all(result.seconds > 0 for result in results.values())


class Poisoned:
    """FleetBatches whose concept `bad` has targets that are not a number at step `at` of its own."""

    def __init__(self, batches: FleetBatches, bad: int, at: int) -> None:
        self.batches, self.bad, self.at = batches, bad, at

    def batch(self, concepts, steps, device):
        drawn = self.batches.batch(concepts, steps, device)
        target = drawn["target"].float().unflatten(0, (len(concepts), -1))
        for row, (concept, step) in enumerate(zip(concepts, steps, strict=True)):
            target[row] += float("nan") if (concept, step) == (self.bad, self.at) else 0.0
        return {**drawn, "target": target.flatten(0, 1)}


@pytest.mark.parametrize("train", ["ab", "b"])
def test_a_diverged_concept_leaves_and_disturbs_nobody(train):
    module, results = fleet(TWENTY, train, check_every=5)
    module.batches = Poisoned(module.batches, bad=1, at=6)
    run(module)
    lost = results.pop("green")
    assert (lost.state, lost.steps) == (None, 10)  # seen at the first look after its step 7
    assert_solo(results, {"red": 20, "blue": 20}, train=train)


def test_divergence_in_the_last_step_is_no_result():
    module, results = fleet({"red": 3, "green": 3}, check_every=100)
    module.batches = Poisoned(module.batches, bad=0, at=2)
    run(module)
    assert results["red"].state is None
    assert results["green"].state is not None


def resumed(module: FleetModule, steps: dict[str, int], **options):
    """A new fleet of `steps` that goes on from `module`, through a file."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    again, results = fleet(steps, **options)
    again.load_state_dict(torch.load(file, weights_only=True))
    return again, results


def test_resumed_equals_uninterrupted():
    steps = {"red": 4, "green": 9, "blue": 8}
    whole, expected = fleet(steps, size=2)
    run(whole)
    part, before = fleet(steps, size=2)
    for step in range(6):
        part.training_step(step, step)
    again, after = resumed(part, steps, size=2)
    assert again.fleet_step == 6
    run(again)
    assert list(before) == ["red"]
    assert list(after) == ["green", "blue"]
    for name, result in (before | after).items():
        for factor, weight in result.state.items():
            assert torch.equal(weight, expected[name].state[factor])


def test_resumed_without_a_concept_that_has_become_an_artifact():
    part, _ = fleet({"red": 9, "green": 9}, size=1)
    for step in range(3):
        part.training_step(step, step)
    again, results = resumed(part, {"blue": 4, "green": 5})
    run(again)
    assert_solo(results, {"green": 5, "blue": 4})


def test_a_trainer_resumes_from_its_checkpoint(tmp_path):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
            if batch_index == 2:
                trainer.save_checkpoint(tmp_path / "last.ckpt")
                trainer.should_stop = True

    steps = {"red": 4, "blue": 5}
    part, _ = fleet(steps)
    first = trainer()
    first.callbacks.append(Stop())
    first.fit(part, FleetSteps(part))
    again, results = fleet(steps)
    trainer().fit(again, FleetSteps(again, start=3), ckpt_path=tmp_path / "last.ckpt")
    assert again.fleet_step == 5
    assert_solo(results, steps)


def test_out_of_memory_parks_half_and_changes_nothing():
    class Small(FleetBatches):
        def batch(self, concepts, steps, device=None):
            if len(concepts) > room["concepts"]:
                raise torch.OutOfMemoryError("no")
            return super().batch(concepts, steps, device)

    room = {"concepts": 3}
    steps = {"red": 6, "green": 5, "blue": 4}
    module, results = fleet(steps)
    module.batches.__class__ = Small
    module.training_step(0, 0)
    room["concepts"] = 1
    run(module)
    assert module.roster.size == 1
    assert_solo(results, steps)
    room["concepts"] = 0
    with pytest.raises(torch.OutOfMemoryError):
        run(fleet(steps, batches=module.batches)[0])


def test_running_out_of_memory_between_the_two_updates_undoes_the_first(monkeypatch):
    from weightgen.translation import fleet as module_under_test

    steps = {"red": 4, "green": 4}
    module, results = fleet(steps)
    real, calls = module_under_test.generator_loss, []

    def once(logits):
        calls.append(len(logits))
        if len(calls) == 3:
            raise torch.OutOfMemoryError("no")
        return real(logits)

    monkeypatch.setattr(module_under_test, "generator_loss", once)
    run(module)
    assert module.roster.size == 1
    assert_solo(results, steps)


def test_concepts_may_start_from_their_own_factors():
    steps = {"green": 6, "blue": 6}
    states = {n: lora_state(inject_lora(base(), spec("ab", NAMES.index(n), own=True))) for n in steps}
    module, results = fleet(steps, "ab", lora=states.__getitem__)
    run(module)
    assert_solo(results, steps, train="ab", own=True)


def test_batches_are_those_of_pair_batches():
    module, _ = fleet(TWENTY)
    photos, targets, tokens, mask = data()
    drawn = module.batches.batch([2, 0, 1], [7, 0, 7])
    for row, (concept, step) in enumerate([(2, 7), (0, 0), (1, 7)]):
        alone = PairBatches(
            photos, [targets[concept]], tokens, mask, [PROMPTS[concept]], BATCH, SEEDS[concept]
        ).batch(step)
        for name, expected in alone.items():
            assert torch.equal(drawn[name][row * BATCH : (row + 1) * BATCH], expected), name
    assert drawn["source"].dtype == torch.uint8


def test_only_the_fleets_targets_are_in_memory():
    class Lazy:
        def __getitem__(self, concept: int) -> torch.Tensor:
            fetched.append(concept)
            return data()[1][concept]

    fetched: list[int] = []
    photos, _, tokens, mask = data()
    batches = FleetBatches(photos, Lazy(), tokens, mask, PROMPTS, BATCH)
    for step in range(3):
        batches.batch([0, 1], [step, step])
    batches.batch([2, 1], [0, 3])
    assert fetched == [0, 1, 2]
    assert set(batches._resident) == {1, 2}


@pytest.mark.parametrize("form", FORMS)
def test_stacked_discriminators_equal_separate_ones_with_their_gradients(form):
    singles = [discriminator(name) for name in NAMES]
    stacked = StackedDiscriminator(singles[0], form)
    rows = torch.stack([stacked.pack(single) for single in singles]).requires_grad_()
    source, image = torch.rand(2, 6, 3, 16, 16) * 2 - 1
    logits = stacked(rows, source, image)
    expected = torch.cat([m(s, x) for m, s, x in zip(singles, source.split(2), image.split(2), strict=True)])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(logits.square().sum(), rows)
    expected.square().sum().backward()
    for row, single in zip(gradient, singles, strict=True):
        by_hand = torch.cat([p.grad.flatten() for p in single.parameters()])
        torch.testing.assert_close(row, by_hand, atol=1e-3, rtol=1e-4)


def test_refusals():
    with pytest.raises(ValueError, match="size"):
        fleet(TWENTY, size=0)
    with pytest.raises(ValueError, match="steps"):
        fleet({"red": 0})
    with pytest.raises(ValueError, match="unknown"):
        fleet(TWENTY, form="other")
    with pytest.raises(ValueError, match="vmap"):
        StackedDiscriminator(UNetGenerator((4, 8)), "grouped")
    norm = copy.deepcopy(base())
    norm.extra = torch.nn.BatchNorm2d(3)
    batches = fleet(TWENTY)[0].batches
    with pytest.raises(ValueError, match="eval"):
        FleetModule(norm.train(), spec("b"), TWENTY, batches, ADAM, print, size=1)
    sgd = partial(torch.optim.SGD, lr=0.1)
    with pytest.raises(WeightgenError, match="Adam"):
        FleetModule(base(), spec("b"), TWENTY, batches, sgd, print, size=1)

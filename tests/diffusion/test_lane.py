"""A denoiser's or refiner's lane against Lightning's run, bit for bit; what it computes looks at no host."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers.through_base import TRAINER, parts
from weightgen.batches import Batches, Texts
from weightgen.diffusion.averaged import AveragedModule
from weightgen.diffusion.lane import DenoiserLane
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.diffusion.training import BlockDiffusionModule
from weightgen.generation.block_generator import BlockGenerator
from weightgen.generation.guided import Guide, GuidedRefiner
from weightgen.generation.guided_training import GuidedModule
from weightgen.lanes import Lanes
from weightgen.weights.batches import set_batches

STEPS = 9
ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)
KINDS = ["sample", "v_prediction", "direct", "function", "guide"]


def training(kind: str) -> tuple[AveragedModule, Batches]:
    """Rates that warm up and fall; the refiner's batches have three shapes, as one, two or three pairs guide."""
    function, batches = parts(STEPS, photos=4)
    function.optimizer = ADAMW
    layout, normalizer = function.through.layout, function.normalizer
    if kind == "function":
        return function, batches
    options = {"ema_decay": 0.9, "warmup_steps": 2, "decay_steps": STEPS, "seed": 5}
    if kind == "guide":
        torch.manual_seed(1)
        refiner = GuidedRefiner(64, layout.blocks, 8, width=16, layers=1, heads=2, hidden=8, rate=0.02)
        guide = Guide(refiner, function.through.stacked, layout, normalizer)
        generator = BlockGenerator(function.denoiser, Sampler(make_scheduler()), layout, normalizer)
        zero = torch.zeros(layout.blocks, 64)
        return GuidedModule(guide, generator, zero, ADAMW, pairs=(1, 2, 3), rounds=2, query=1, **options), batches
    sets = torch.randn(6, layout.blocks, 64, generator=torch.Generator().manual_seed(2))
    texts = Texts(torch.randn(6, 3, 8), torch.ones(6, 3, dtype=torch.bool), [[row] for row in range(6)])
    drawn = set_batches(sets * layout.valid(), layout.valid(), texts, 4, seed=5, steps=STEPS)
    return BlockDiffusionModule(function.denoiser, make_scheduler(kind), ADAMW, **options), drawn


def by_lightning(module: AveragedModule, batches: Batches) -> list[list[float]]:
    """The losses of all steps."""
    losses = []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer, module, *args) -> None:
            losses.append([float(module.last_losses[f"train/{name}"]) for name in module.losses])

    pl.Trainer(**TRAINER, callbacks=[Record()]).fit(module, batches)
    return losses


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_is_lightning_s_run_bit_for_bit(kind: str) -> None:
    alone, lane = training(kind), DenoiserLane(*training(kind))
    start = {name: value.clone() for name, value in alone[0].state_dict().items()}
    losses = by_lightning(*alone)
    lanes = Lanes("cpu")
    lanes.add(lane)
    for steps in (4, 100):  # ends where its steps end
        lanes.advance(steps)
    assert lane.done == STEPS
    ours, theirs = lane.module.state_dict(), alone[0].state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert lane.history.tolist() == losses
    changed = {name.split(".")[0] for name in ours if not torch.equal(ours[name], start[name])}
    assert {"denoiser", "ema"} <= changed
    assert len(lane.made) == (3 if kind == "guide" else 1)


@pytest.mark.parametrize("kind", ["sample", "guide"])
def test_a_lane_goes_on_from_a_state_as_if_it_had_not_stopped(kind: str) -> None:
    whole, first, second = (DenoiserLane(*training(kind)) for _ in range(3))
    whole.advance(STEPS)
    first.advance(4)
    saved = {name: value.clone() for name, value in first.state().items()}
    first.advance(1)  # what comes after the state is forgotten
    second.load_state(saved)
    assert second.done == 4
    second.advance(STEPS)
    ours, theirs = second.state(), whole.state()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_graph_would_hold_stays_on_one_device(kind: str) -> None:
    """On torch's meta device, which mixes with no other and has no values to wait for."""
    module, batches = training(kind)
    batch = module.drawn(batches.batch(0), 0, len(batches.batch(0)["tokens"]))
    by_value = module.objective(batch)[0]
    module = module.to("meta")
    loss, losses = module.objective({name: value.to("meta") for name, value in batch.items()})
    loss.backward()
    module.average(torch.tensor(0.5, device="meta"))
    assert {value.device.type for value in (loss, *losses)} == {"meta"}
    assert loss.shape == by_value.shape
    assert len(losses) == len(module.losses)

"""Trainings that are run by one process and by two; followers import this module, so nothing here is a test."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from experiments.command.app import quiet
from experiments.pipeline.ranks import group, world
from experiments.pipeline.runtime import Runtime
from experiments.training.fit import fit
from tests.helpers.configs import composed
from weightgen.batches import PairBatches, Pairs, Texts
from weightgen.diffusion.joint import JointTransformer
from weightgen.diffusion.sampler import make_scheduler
from weightgen.diffusion.training import BlockDiffusionModule
from weightgen.evaluation.distances import frechet_distance
from weightgen.slices import spread
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.nets.patchgan import PatchDiscriminator
from weightgen.translation.training import TranslatorModule
from weightgen.weights.batches import set_batches

N, K, D, L, E = 6, 5, 16, 3, 8
STEPS = 5


def runtime(*overrides: str) -> Runtime:
    return Runtime.of(composed("experiment=smoke", "budget.checkpoint_every=2", "logger.every=1", *overrides))


class Seen(pl.Callback):
    """Learning rates after each batch, or part of one; after `stop` of them the run is interrupted."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.rates: list[list[float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if len(self.rates) == self.stop:
            raise InterruptedError
        self.rates.append([group["lr"] for o in trainer.optimizers for group in o.param_groups])


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3)


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts(concepts: int = N) -> Texts:
    mask = torch.ones(2 * N, L, dtype=torch.bool)
    mask[::2, -1] = False
    return Texts(noise(2 * N, L, E, seed=1), mask, [[2 * i, 2 * i + 1] for i in range(concepts)])


def denoiser(given: Runtime, folder: Path, stop: int | None = None) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Averaged weights and learning rates: blocks (some half padding), prompts, times and noise."""
    valid = torch.ones(K, D, dtype=torch.bool)
    valid[-2:, D // 4 :] = False
    batches = set_batches(noise(N, K, D, seed=2) * valid, valid, texts(), 4, seed=3, steps=STEPS)
    torch.manual_seed(0)
    net = JointTransformer(D, K, E, width=16, layers=1, heads=2)
    module = BlockDiffusionModule(net, make_scheduler(), adam, warmup_steps=2, decay_steps=8, seed=4)
    seen = Seen(stop)
    fit(given, module, batches, folder, [], [seen], bar=False, parallel="denoiser")
    return module.averaged_state(), seen.rates


def base(given: Runtime, folder: Path) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Weights of both nets and learning rates of adversarial training on two concepts."""
    images = (noise(3, 8, 3, 16, 16, seed=5).sigmoid() * 255).to(torch.uint8)
    batches = PairBatches(Pairs(images[0], [images[1], images[2]]), texts(2), 4, seed=6, steps=STEPS)
    torch.manual_seed(0)
    module = TranslatorModule(
        E2GANGenerator(width=8, text_dim=E),
        PatchDiscriminator(8),
        adam,
        warmup_steps=2,
        max_steps=STEPS,
        decay_start=0.5,
    )
    seen = Seen()
    fit(given, module, batches, folder, [], [seen], bar=False, parallel="base")
    return module.state_dict(), seen.rates


def distance(images: Tensor) -> float:
    """The Frechet distance of 'generated' images to others, made by all processes and taken once."""
    made = spread(lambda own: own.flip(2), images, batch_size=2)
    assert len(made) == len(images)
    features = [x.float().mean((2, 3)) for x in (made[:, :, :4], images)]
    return frechet_distance(*features)


IMAGES = (noise(9, 3, 8, 8, seed=7).sigmoid() * 255).to(torch.uint8)
ALONE = [
    ("alone", ["strategy=cpu"], (denoiser, base)),
    ("parts", ["strategy=cpu", "strategy.accumulate=2"], (denoiser, base)),
]
TOGETHER = [
    ("ddp_cpu", ["strategy=ddp_cpu"], (denoiser, base)),
    ("ddp_cpu in parts", ["strategy=ddp_cpu", "strategy.accumulate=2"], (denoiser, base)),
    ("fsdp", ["strategy=fsdp", "strategy.trainer.accelerator=cpu"], (denoiser,)),
]
Trained = dict[tuple[str, str], tuple[dict[str, Tensor], list[list[float]]]]


def train(cases: list, folder: Path) -> tuple[Trained, float]:
    """(case, stage) -> weights and learning rates; and the distance of all processes' images."""
    quiet()
    torch.set_num_threads(1)
    trained = {
        (case, stage.__name__): stage(runtime(*overrides), folder / case / stage.__name__)
        for case, overrides, stages in cases
        for stage in stages
    }
    return trained, distance(IMAGES)


def follow(folder: Path) -> None:
    """What a follower does beside rank 0's `train`; its learning rates and distance are left in a file."""
    trained, score = train(TOGETHER, folder)
    rates = {" ".join(name): rates for name, (_, rates) in trained.items()}
    (folder / "follower.json").write_text(json.dumps({"rates": rates, "score": score}))


def nothing() -> None:
    """A follower that has nothing to do."""


def meet() -> tuple[int, int]:
    with group(2, False, nothing):
        inside = world()
    return inside, world()

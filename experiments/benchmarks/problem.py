"""Synthetic work for the benchmarks: seeded uint8 photos and the configured nets, untrained."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from experiments.benchmarks.runner import Stopwatch
from experiments.pipeline.options import plain
from experiments.training.payloads import seeded
from weightgen.batches import Batches, PairBatches, Pairs, Texts
from weightgen.lanes import Lanes
from weightgen.rng import stream
from weightgen.translation.lane import GanLane
from weightgen.translation.lora import LoraSpec, inject_lora
from weightgen.translation.nets import DISCRIMINATORS, TRANSLATORS
from weightgen.translation.training import TranslatorModule

TOKENS, TEXT_DIM = 24, 384  # as the MiniLM encoder gives them
SEED = 0


@dataclass(frozen=True)
class Setting:
    """What every family gets. clock: of work in this process (bench.clock); wall: of work in several.

    folder: for logs and checkpoints, deleted afterwards.
    """

    cfg: DictConfig
    folder: Path

    @cached_property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.cfg.strategy.trainer.accelerator == "gpu" else "cpu")

    @cached_property
    def clock(self) -> Stopwatch:
        return Stopwatch(self.device, self.cfg.bench.clock)

    @cached_property
    def wall(self) -> Stopwatch:
        return Stopwatch(self.device)


class Problem:
    """Concepts at one image size: `photos` uint8 (N, 3, S, S), shared, and `targets(c)`, the same photos altered.

    The LoRA budget (losses, optimizers, batch size) is the recipe's; only the number of steps is the caller's.
    """

    def __init__(self, cfg: DictConfig, size: int) -> None:
        self.cfg, self.size, self.budget = cfg, size, cfg.budget.lora
        noise = stream(SEED, "bench/photos")
        shape = cfg.bench.photos, 3, size, size
        self.photos = torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)
        self.tokens = torch.randn(1, TOKENS, TEXT_DIM, generator=noise)
        self.base: nn.Module = seeded(SEED, TRANSLATORS, plain(cfg.translator), text_dim=TEXT_DIM).eval()

    def targets(self, concept: int) -> Tensor:
        return 255 - self.photos.roll(concept, -1)

    def discriminator(self) -> nn.Module | None:
        return seeded(SEED, DISCRIMINATORS, plain(self.cfg.discriminator)) if self.budget.adversarial else None

    def adapted(self) -> nn.Module:
        """The base with an untrained LoRA."""
        return inject_lora(self.base, LoraSpec(**plain(self.cfg.lora)))

    def optimizers(self) -> dict[str, Any]:
        return {
            "optimizer": instantiate(self.budget.optimizer),
            "discriminator_optimizer": instantiate(self.budget.discriminator_optimizer),
        }

    def schedule(self) -> dict[str, Any]:
        return {name: self.budget[name] for name in ("l1_weight", "warmup_steps", "decay_start")}

    def batches(self, concept: int, steps: int | None) -> Batches:
        pairs = Pairs(self.photos, [self.targets(concept)])
        return PairBatches(pairs, self.texts(1), self.budget.batch_size, SEED, steps)

    def texts(self, concepts: int) -> Texts:
        """One text, which describes all concepts."""
        return Texts(self.tokens, torch.ones(1, TOKENS, dtype=torch.bool), [[0]] * concepts)

    def module(self, steps: int) -> TranslatorModule:
        """A concept's own training, as the zoo's LoRAs are trained one at a time."""
        nets = self.adapted(), self.discriminator()
        return TranslatorModule(*nets, **self.optimizers(), **self.schedule(), max_steps=steps)

    def lane(self, concept: int, steps: int) -> GanLane:
        """The same training on buffers alone, as `fleet.size` above 1 runs it."""
        device = "cuda" if self.cfg.strategy.trainer.accelerator == "gpu" else "cpu"
        return GanLane(self.module(steps), self.batches(concept, steps), device)

    def trainer(self) -> pl.Trainer:
        """The configured Trainer with neither logs nor checkpoints."""
        return pl.Trainer(
            **OmegaConf.to_container(self.cfg.strategy.trainer),
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def train_lanes(self, concepts: Sequence[int], steps: int, size: int) -> None:
        """`size` concepts at a time, from their making to their LoRAs."""
        for first in range(0, len(concepts), size):
            made = [self.lane(concept, steps) for concept in concepts[first : first + size]]
            lanes = Lanes(made[0].device)
            for lane in made:
                lanes.add(lane)
            lanes.advance(steps)

    def train_alone(self, concept: int, steps: int) -> None:
        """One Lightning run from the base to a trained LoRA; data in memory, as for every side."""
        self.trainer().fit(self.module(steps), self.batches(concept, steps))


@cache
def problem(description: str, size: int) -> Problem:
    """The problem of a configuration (as YAML), once a process."""
    return Problem(OmegaConf.create(description), size)

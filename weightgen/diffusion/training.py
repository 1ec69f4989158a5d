"""Training a denoiser: predict x_0 (or v) of a concept's blocks from their noised version, index and
prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from weightgen.diffusion.averaged import AveragedModule
from weightgen.diffusion.sampler import check_prediction, to_x0
from weightgen.slices import own_rows


def masked_mse(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over the True elements of valid; all (N, K, D). 0 where none is."""
    return ((prediction - target).square() * valid).sum() / valid.sum().clamp(min=1)


class BlockDiffusionModule(AveragedModule):
    """Trains `denoiser`; `averaged` is what to export.

    scheduler: prediction type "sample" or "v_prediction" (ValueError for epsilon); optimizer: parameters ->
    Optimizer; ema_decay: of the averaged weights, in [0, 1); warmup_steps: linear warm-up of the learning
    rate; decay_steps: cosine decay to 0 at that step, or None for a constant rate; terminal_fraction: share
    of samples trained at the last, pure-noise step; text_dropout: share of samples that see no prompt;
    blocks_per_sample: random blocks of each concept trained a step, None for all (only a denoiser that sees
    each block alone may do with fewer); seed: of noise, times and dropout.

    Batches: {"blocks": (N, K, D) normalised x_0, "valid": (N, K, D) bool, "index": (N, K) long, "tokens": (N,
    L, E), "text_mask": (N, L) bool} and, for a denoiser that reads it, "evidence": (N, K, D).
    """

    def __init__(
        self,
        denoiser: nn.Module,
        scheduler: DDIMScheduler,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        ema_decay: float = 0.999,
        warmup_steps: int = 100,
        decay_steps: int | None = None,
        terminal_fraction: float = 0.25,
        text_dropout: float = 0.0,
        blocks_per_sample: int | None = None,
        seed: int = 0,
    ):
        check_prediction(scheduler)
        if blocks_per_sample is not None and blocks_per_sample < 1:
            raise ValueError(f"blocks_per_sample={blocks_per_sample}: at least 1, or null for all blocks")
        for name, share in (("terminal_fraction", terminal_fraction), ("text_dropout", text_dropout)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}={share}: a share, from 0 to 1")
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay={ema_decay}: from 0 (the last weights) to below 1")
        super().__init__(denoiser, optimizer, _ema(ema_decay))
        self.scheduler = scheduler
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.terminal_fraction = terminal_fraction
        self.text_dropout = text_dropout
        self.blocks_per_sample = blocks_per_sample
        self.seed = seed

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        # a function of the step alone: a resumed run draws what an uninterrupted one draws, many processes what one does
        generator = seeded(self.seed, self.trainer.global_step, 0, 0)
        batch = self.thin(batch, generator, batch_idx)
        x_0 = batch["blocks"]
        t, noise, prompted = self.draw(x_0, generator, batch_idx)

        x_t = self.scheduler.add_noise(x_0, noise, t)
        output = self.denoise(self.denoiser, x_t, t, batch, batch["text_mask"] & prompted[:, None])
        v_target = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(x_0, noise, t) if v_target else x_0
        loss = masked_mse(output, target, batch["valid"]) * batch.get("share", 1.0)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(x_0))
        return loss

    def thin(self, batch: dict[str, Tensor], generator: torch.Generator, batch_idx: int = 0) -> dict[str, Tensor]:
        """The batch with blocks_per_sample random blocks of each concept: cheaper steps for a denoiser of
        single blocks."""
        count, blocks, size = batch["blocks"].shape
        if self.blocks_per_sample is None or self.blocks_per_sample >= blocks:
            return batch
        rows, mine = own_rows(count, self._trainer, batch_idx)
        kept = torch.rand(rows, blocks, generator=generator).argsort(1)[mine, : self.blocks_per_sample]
        kept = kept.to(batch["index"].device)  # (N, K')
        every = kept[..., None].expand(-1, -1, size)
        fields = {name: batch[name].gather(1, every) for name in ("blocks", "valid", "evidence") if name in batch}
        return {**batch, **fields, "index": batch["index"].gather(1, kept)}

    def draw(self, x_0: Tensor, generator: torch.Generator, batch_idx: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """x_0: (N, K, D) -> t (N,) long, noise (N, K, D), prompted (N,) bool, drawn on the CPU so that no
        device changes them, and for the whole batch so that no number of processes does.

        terminal_fraction of the samples get the last step: one-step sampling evaluates the network there and
        nowhere else, while uniform times would train it there once in num_train_timesteps samples.
        """
        last = self.scheduler.config.num_train_timesteps - 1
        rows, mine = own_rows(len(x_0), self._trainer, batch_idx)
        t = torch.randint(0, last + 1, (rows,), generator=generator)
        t[torch.rand(rows, generator=generator) < self.terminal_fraction] = last
        prompted = torch.rand(rows, generator=generator) >= self.text_dropout
        noise = torch.randn(rows, *x_0.shape[1:], generator=generator)
        return t[mine].to(x_0.device), noise[mine].to(x_0), prompted[mine].to(x_0.device)

    @staticmethod
    def denoise(denoiser: nn.Module, x_t: Tensor, t: Tensor, batch: dict[str, Tensor], text_mask: Tensor) -> Tensor:
        extra = {"evidence": batch["evidence"]} if "evidence" in batch else {}
        return denoiser(x_t, t, batch["index"], batch["tokens"], text_mask, **extra)

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Logs the averaged denoiser's one-step error: predicting the mean set (all 0) scores the data's
        variance, about 1."""
        x_0 = batch["blocks"]
        noise = torch.randn(x_0.shape, generator=seeded(self.seed, batch_idx)).to(x_0)
        t = torch.full((len(x_0),), self.scheduler.config.num_train_timesteps - 1, device=x_0.device)
        output = self.denoise(self.averaged, noise, t, batch, batch["text_mask"])
        error = masked_mse(to_x0(self.scheduler, output, noise, t), x_0, batch["valid"])
        self.log("val/one_step_mse", error, prog_bar=True, batch_size=len(x_0))

    def rate(self, step: int) -> float:
        """Learning rate at a step, as a share of the optimizer's own."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.decay_steps is None:
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.decay_steps)))


def seeded(*stream: int) -> torch.Generator:
    """A CPU generator that is a function of these non-negative numbers and of nothing else."""
    state = np.random.SeedSequence(stream).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _ema(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """averaged <- d averaged + (1 - d) current, with d = min(decay, (1 + n) / (10 + n)) after n updates: a
    short run is not dominated by the untrained weights it started from."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        n = float(updates)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update

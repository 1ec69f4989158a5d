"""Training a denoiser: predict x_0 (or v) of a concept's blocks from their noised version, index and prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from weightgen.batches import Batch
from weightgen.diffusion.averaged import ALL, AveragedModule
from weightgen.diffusion.sampler import check_prediction, draw_noise, is_direct
from weightgen.rng import stream
from weightgen.schedules import Schedule


def masked_mse(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over the True elements of valid; all (N, K, D). 0 where none is."""
    return ((prediction - target).square() * valid).sum() / valid.sum().clamp(min=1)


class BlockDiffusionModule(AveragedModule):
    """Trains `denoiser`; `averaged` is what to export.

    scheduler: as `make_scheduler` makes it (ValueError for epsilon); optimizer: parameters -> Optimizer;
    ema_decay: of the averaged weights, in [0, 1); warmup_steps: linear warm-up of the learning rate; decay_steps: cosine
    decay to 0 at that step, or None for a constant rate; terminal_fraction: share of samples trained at the last, pure-noise
    step; seed: of noise and times.

    Batches: {"blocks": (N, K, D) normalised x_0, "valid": (N, K, D) bool, "index": (N, K) long, "tokens": (N, L, E),
    "text_mask": (N, L) bool}.
    """

    losses = ("loss",)

    def __init__(
        self,
        denoiser: nn.Module,
        scheduler: DDIMScheduler,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        ema_decay: float = 0.999,
        warmup_steps: int = 100,
        decay_steps: int | None = None,
        terminal_fraction: float = 0.25,
        seed: int = 0,
    ):
        check_prediction(scheduler)
        if not 0 <= terminal_fraction <= 1:
            raise ValueError(f"terminal_fraction={terminal_fraction}: a share, from 0 to 1")
        super().__init__(denoiser, optimizer, ema_decay, Schedule(warmup_steps, end=decay_steps, cosine=True))
        self.scheduler = scheduler
        self.terminal_fraction = terminal_fraction
        self.seed = seed

    def drawn(self, batch: Batch, step: int, rows: int, mine: slice = ALL) -> Batch:
        """With t (N,) long and noise (N, K, D): functions of the step alone, so that a resumed run draws what an
        uninterrupted one draws; on the CPU, so that no device changes them; and for the whole batch, so that no number of
        processes does.

        terminal_fraction of the samples get the last step: one-step sampling evaluates the network there and
        nowhere else, while uniform times would train it there once in num_train_timesteps samples.
        """
        x_0 = batch["blocks"]
        times, noise = stream(self.seed, "denoiser/times", step), stream(self.seed, "denoiser/noise", step)
        last = self.scheduler.config.num_train_timesteps - 1
        t = torch.randint(0, last + 1, (rows,), generator=times)
        t[torch.rand(rows, generator=times) < (1 if is_direct(self.scheduler) else self.terminal_fraction)] = last
        eps = draw_noise(self.scheduler, rows, *x_0.shape[1:], generator=noise)
        return batch | {"t": t[mine].to(x_0.device), "noise": eps[mine].to(x_0)}

    def objective(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        loss = self.loss(self.denoiser, batch, batch["t"], batch["noise"]) * batch.get("share", 1.0)
        return loss, [loss]

    def loss(self, net: nn.Module, batch: Mapping[str, Tensor], t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of x_0 (or v) at times t (N,) with this noise (N, K, D)."""
        x_0 = batch["blocks"]
        output = net(self.scheduler.add_noise(x_0, noise, t), t, batch["index"], batch["tokens"], batch["text_mask"])
        v_target = self.scheduler.config.prediction_type == "v_prediction"
        target = self.scheduler.get_velocity(x_0, noise, t) if v_target else x_0
        return masked_mse(output, target, batch["valid"])

    @torch.no_grad()
    def held_out_loss(self, batch: Mapping[str, Tensor]) -> float:
        """The averaged denoiser's loss on sets that it does not train on, with the training's shares of the last step and of
        all times, these evenly spaced; noise and times are the same at every call."""
        batch = {name: value.to(self.device) for name, value in batch.items()}
        x_0, last = batch["blocks"], self.scheduler.config.num_train_timesteps - 1
        noise = draw_noise(self.scheduler, *x_0.shape, generator=stream(self.seed, "denoiser/validation")).to(x_0)
        share = 1.0 if is_direct(self.scheduler) else self.terminal_fraction
        spaced = torch.linspace(0, last, len(x_0)).round().long().to(x_0.device)
        net, training = self.averaged, self.averaged.training
        net.eval()
        losses = [self.loss(net, batch, t, noise) for t in (torch.full_like(spaced, last), spaced)]
        net.train(training)
        return float(share * losses[0] + (1 - share) * losses[1])

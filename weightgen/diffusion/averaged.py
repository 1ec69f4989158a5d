"""What every training of a denoiser shares: averaged weights, and a learning rate that is a function of the step."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from weightgen.schedules import Schedule


class AveragedModule(pl.LightningModule):
    """Trains `denoiser` with `optimizer`, its learning rate scaled by `schedule`; `averaged` is what to export.

    The average is exponential: averaged <- d averaged + (1 - d) current, with d = min(ema_decay, (1 + n) / (10 + n)) after n
    updates, so that a short run is not dominated by the weights it started from. ema_decay: from 0 (the last weights) to
    below 1; ValueError otherwise.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        ema_decay: float,
        schedule: Schedule,
    ) -> None:
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay={ema_decay}: from 0 (the last weights) to below 1")
        super().__init__()

        @torch.no_grad()
        def average(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
            n = float(updates)
            torch._foreach_lerp_(averaged, current, 1 - min(ema_decay, (1 + n) / (10 + n)))

        self.denoiser = denoiser
        self.optimizer = optimizer
        self.schedule = schedule
        self.ema = AveragedModel(denoiser, multi_avg_fn=average).requires_grad_(False)

    @property
    def averaged(self) -> nn.Module:
        """The denoiser with exponentially averaged weights: the one to export and sample from."""
        return self.ema.module

    def configure_model(self) -> None:
        """Where the strategy shards (FSDP2), weights and averages are cut over the processes alike."""
        if self._device_mesh is not None:
            for part in (self.denoiser, self.averaged):
                fully_shard(part, mesh=self._device_mesh["data_parallel"])

    def averaged_state(self) -> dict[str, Tensor]:
        """The averaged weights, whole and on the CPU, for a denoiser of one process; all processes of a group call it."""
        options = StateDictOptions(full_state_dict=True)  # a plain state dict where nothing is sharded
        return {name: value.cpu() for name, value in get_model_state_dict(self.averaged, options=options).items()}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The step, then the average: before any callback saves a checkpoint, so that a resumed run misses none."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.denoiser)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(self.denoiser.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

"""What every training of a denoiser shares: averaged weights, and a learning rate that is a function of the step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from weightgen.averages import average_into
from weightgen.batches import Batch
from weightgen.schedules import Schedule
from weightgen.slices import own_rows

ALL = slice(None)


class AveragedModule(pl.LightningModule, ABC):
    """Trains `denoiser` with `optimizer`, its learning rate scaled by `schedule`; `averaged` is what to export.

    The average is exponential: averaged <- d averaged + (1 - d) current, with d = min(ema_decay, (1 + n) / (10 + n)) after n
    updates, so that a short run is not dominated by the weights it started from. ema_decay: from 0 (the last weights) to
    below 1; ValueError otherwise.

    A training step is `objective(drawn(batch, step, rows, mine))`: what is drawn at random, and what is computed from it
    without a look at the host. losses: the names of the parts that `objective` returns beside the loss.
    """

    losses: Sequence[str]

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
            torch._foreach_lerp_(averaged, current, self.share(int(updates)))

        self.denoiser = denoiser
        self.ema_decay = ema_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self.ema = AveragedModel(denoiser, multi_avg_fn=average).requires_grad_(False)

    @property
    def averaged(self) -> nn.Module:
        """The denoiser with exponentially averaged weights: the one to export and sample from."""
        return self.ema.module

    @abstractmethod
    def drawn(self, batch: Batch, step: int, rows: int, mine: slice = ALL) -> Batch:
        """The batch with all that step `step` draws: for `rows` rows, of which it has `mine`."""

    @abstractmethod
    def objective(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss of what `drawn` returned, and its parts."""

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        rows, mine = own_rows(len(batch["tokens"]), self.trainer, batch_index)
        loss, parts = self.objective(self.drawn(batch, self.trainer.global_step, rows, mine))
        self.last_losses = {f"train/{name}": part.detach() for name, part in zip(self.losses, parts, strict=True)}
        return loss

    def share(self, updates: int) -> float:
        """What the current weights have of the average after this update, with `updates` before it."""
        return 1 - min(self.ema_decay, (1 + updates) / (10 + updates)) if updates else 1.0

    @torch.no_grad()
    def average(self, share: Tensor) -> None:
        """`ema.update_parameters` with its share, float32 without dimensions, on the device: nothing waits for the host."""
        average_into(self.averaged, self.denoiser, share)
        self.ema.n_averaged.add_(1)

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

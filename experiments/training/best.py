"""Keeping the weights that are best on what a denoiser does not train on."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from experiments.training.checkpoints import AfterStep


class BestOnValidation(AfterStep):
    """Every `every` steps `module.held_out_loss(batch)`, logged as validation/loss; `weights` are the averaged ones where it
    was least, and `step` and `loss` say when. They travel in the checkpoint."""

    def __init__(self, batch: Mapping[str, Tensor], every: int) -> None:
        self.batch, self.every = batch, every
        self.loss, self.step = float("inf"), 0
        self.weights: dict[str, Tensor] = {}

    def after_step(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        if step % self.every:
            return
        loss = module.held_out_loss(self.batch)
        for logger in trainer.loggers:
            logger.log_metrics({"step": step, "validation/loss": loss}, step=step)
        if loss < self.loss:
            self.loss, self.step, self.weights = loss, step, module.averaged_state()

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "step": self.step, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss, self.step, self.weights = state["loss"], state["step"], state["weights"]

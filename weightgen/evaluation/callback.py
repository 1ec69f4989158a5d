"""Measuring a translator while it trains, at chosen steps, off the training clock."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

Measure = Callable[[pl.LightningModule], tuple[dict[str, float], Tensor]]
Report = Callable[[int, dict[str, float], Tensor], None]


class EvaluationCallback(pl.Callback):
    """Calls measure(module) -> (scores, sample images uint8 (n, 3, H, W)) at each of `points`, which are
    training steps, 0 before any.

    `rows` collects {"step", "train_seconds", **scores}; `samples` maps step -> images; both travel in the
    checkpoint, so that a resumed run measures nothing twice. `report(step, row, images)` hears of each.
    """

    def __init__(self, points: Sequence[int], measure: Measure, report: Report | None = None) -> None:
        self.points = frozenset(points)
        self.measure = measure
        self.report = report
        self.rows: list[dict[str, float]] = []
        self.samples: dict[int, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.begin(module)

    def begin(self, module: pl.LightningModule) -> None:
        """Before the first step, which a run that goes on has behind it."""
        if 0 in self.points and not self.rows:
            self.record(module, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 in self.points:
            self.record(module, batch_idx + 1)

    def record(self, module: pl.LightningModule, step: int) -> None:
        """Measure at `step`."""
        scores, images = self.measure(module)
        row = {"step": step, "train_seconds": float(module.train_seconds), **scores}
        self.rows.append(row)
        self.samples[step] = images
        if self.report is not None:
            self.report(step, row, images)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "samples": self.samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.samples = list(state["rows"]), dict(state["samples"])

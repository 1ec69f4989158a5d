"""Measuring at the chosen steps, once each, off the training clock; a resumed run measures nothing twice."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import IterableDataset

from weightgen.evaluation.callback import EvaluationCallback


class Counting(pl.LightningModule):
    """One weight that grows by 1 and one training second that passes in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("train_seconds", torch.zeros((), dtype=torch.float64))

    def training_step(self, batch, batch_index) -> None:
        self.weight.data += 1
        self.train_seconds += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def measure(module) -> tuple[dict[str, float], torch.Tensor]:
    value = module.weight.item()
    return {"l1": value / 10}, torch.full((1, 3, 2, 2), int(value), dtype=torch.uint8)


def trainer(callback: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )


class Batches(IterableDataset):
    """Batches start .. steps - 1, of unknown length: Lightning would take a known one for the whole epoch."""

    def __init__(self, steps: int, start: int = 0) -> None:
        self.range = range(start, steps)

    def __iter__(self):
        return iter(torch.zeros(1) for _ in self.range)


def row(step: int) -> dict[str, float]:
    return {"step": step, "train_seconds": float(step), "l1": step / 10}


def test_measures_at_the_points_with_the_seconds_trained_so_far():
    heard = []
    callback = EvaluationCallback([0, 1, 3, 3, 99], measure, lambda *what: heard.append(what))
    trainer(callback).fit(Counting(), Batches(5))
    assert callback.rows == [row(0), row(1), row(3)]  # 99 never comes
    assert {step: int(images[0, 0, 0, 0]) for step, images in callback.samples.items()} == {0: 0, 1: 1, 3: 3}
    assert [(step, scores) for step, scores, _ in heard] == [(r["step"], r) for r in callback.rows]
    assert all(torch.equal(images, callback.samples[step]) for step, _, images in heard)


@pytest.mark.parametrize("points", [[], [2]])
def test_step_0_is_measured_on_request_alone(points):
    callback = EvaluationCallback(points, measure)
    trainer(callback).fit(Counting(), Batches(3))
    assert [r["step"] for r in callback.rows] == points


def test_state_round_trip():
    callback = EvaluationCallback([0, 2], measure)
    trainer(callback).fit(Counting(), Batches(3))
    again = EvaluationCallback([0, 2], measure)
    again.load_state_dict(callback.state_dict())
    assert again.rows == callback.rows
    assert again.samples.keys() == callback.samples.keys()
    again.rows.append(row(9))  # its own list
    assert len(callback.rows) == 2


class StopAfter(pl.Callback):
    """Saves after `step` batches as a checkpointing run does, then dies."""

    def __init__(self, step: int, path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if batch_idx + 1 == self.step:
            trainer.save_checkpoint(self.path)
            raise RuntimeError("killed")


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_resumed_run_ends_with_the_rows_of_an_uninterrupted_one(tmp_path, stop):
    points, path = [0, 2, 4], tmp_path / "last.ckpt"
    first = trainer(EvaluationCallback(points, measure))
    first.callbacks.append(StopAfter(stop, path))
    with pytest.raises(RuntimeError, match="killed"):
        first.fit(Counting(), Batches(5))
    torch.load(path, weights_only=True)  # nothing in it needs pickle

    measured = []
    callback = EvaluationCallback(points, measure, lambda step, *_: measured.append(step))
    trainer(callback).fit(Counting(), Batches(5, stop), ckpt_path=path)
    assert callback.rows == [row(0), row(2), row(4)]
    assert set(callback.samples) == {0, 2, 4}
    assert measured == [point for point in points if point > stop]

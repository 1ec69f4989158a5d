"""What a killed stage goes on from."""

import json
import logging
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from weightgen.files import write_json

log = logging.getLogger(__name__)
STEPS = "steps.json"  # in a checkpoint that is a folder


class AfterStep(pl.Callback):
    """Calls `after_step` with the number of steps done, once a batch, in however many parts it came."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any) -> None:
        step, part = divmod(args[-1] + 1, trainer.accumulate_grad_batches)
        if part == 0:
            self.after_step(trainer, module, step)


class Seconds(pl.Callback):
    """The wall's seconds of a training, those before a kill included: they travel in the checkpoint."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def total(self) -> float:
        return self.before + time.perf_counter() - self.started

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.total()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before = state["seconds"]


class Checkpoints(AfterStep):
    """Every `every` batches the whole trainer state replaces `path`, atomically."""

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self.done = 0

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_done"] = self.done
        checkpoint["parts"] = trainer.accumulate_grad_batches

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning counts the parts of batches: a run may go on with another strategy.accumulate."""
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        was, now = checkpoint.get("parts", 1), trainer.accumulate_grad_batches
        for counts in (progress["total"], progress["current"]):
            for name, count in counts.items():  # `completed` lags: a checkpoint is saved before it counts the batch
                lag = int(name == "completed")
                counts[name] = (count + lag) * now // was - lag

    def after_step(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        self.done = step
        if step % self.every == 0:
            temporary = self.path.with_suffix(".tmp")
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                replace(temporary, self.path, step)


def replace(temporary: Path, path: Path, step: int) -> None:
    """`path` is `temporary` from now on. DeepSpeed's are folders, which have no atomic replacement: `resumable` finds the
    old one if we are killed in between."""
    if temporary.is_dir():
        write_json(temporary / STEPS, step)
        old = path.with_suffix(".old")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.replace(old)
    temporary.replace(path)


def require_sound(saved: Path) -> None:
    """Raise BadZipFile where a file of a checkpoint is not what was written: torch writes the checksum of every tensor, and
    compares none on reading."""
    for file in [saved] if saved.is_file() else sorted({*saved.rglob("*.pt"), *saved.rglob("*.ckpt")}):
        with zipfile.ZipFile(file) as records:
            spoiled = records.testzip()
        if spoiled:
            raise zipfile.BadZipFile(f"a byte of {spoiled} has changed")


def resumable(path: Path) -> tuple[Path, int] | None:
    """The checkpoint to go on from, and how many steps it has done; None if there is none. A damaged one is deleted with a
    warning: its stage starts anew."""
    for saved in (path, path.with_suffix(".old")):
        if not saved.exists():
            continue
        try:
            require_sound(saved)
            if saved.is_dir():
                return saved, int(json.loads((saved / STEPS).read_text()))
            return saved, int(torch.load(saved, weights_only=True, mmap=True)["batches_done"])
        except Exception as error:  # torch raises whatever its readers raise
            log.warning("%s is damaged (%s): the training starts anew", saved, " ".join(str(error).split())[:120])
            shutil.rmtree(saved) if saved.is_dir() else saved.unlink()
    return None

"""A training as a lane inside an artifact folder: resumable, measured at its points, its losses logged."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from pytorch_lightning.loggers import Logger
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from experiments.pipeline.runtime import Runtime
from weightgen.batches import Batches
from weightgen.diffusion.averaged import AveragedModule
from weightgen.diffusion.lane import DenoiserLane
from weightgen.evaluation.callback import EvaluationCallback
from weightgen.files import save_tensors
from weightgen.lanes import Lane, Lanes
from weightgen.translation.lane import GanLane
from weightgen.translation.training import FineTuneModule, TranslatorModule

log = logging.getLogger(__name__)
HALF = {"32-true": False, "bf16-mixed": True}  # the precisions that lanes have
TURN = 10  # steps of every lane between two looks at who is finished, logs and bars
SAMPLE = "sample."
CLOCKS = (time.perf_counter, time.process_time)


class Training(NamedTuple):
    """What a stage trains: a module on batches, and where it is measured on the way, if it is."""

    module: TranslatorModule | AveragedModule
    batches: Batches
    evaluation: EvaluationCallback | None = None


def kind_of(module: TranslatorModule | AveragedModule) -> type[Lane]:
    return GanLane if isinstance(module, TranslatorModule) else DenoiserLane


class LaneRun:
    """The lane of a training with what surrounds it. seconds: of the wall, its share of a process that it may have shared.

    A checkpoint that is there is gone on from; `every` steps a new one replaces it.
    """

    def __init__(self, training: Training, checkpoint: Path, every: int, device: torch.device, half: bool) -> None:
        self.training, self.module, self.evaluation = training, training.module, training.evaluation
        self.lane: Lane = kind_of(self.module)(self.module, training.batches, device, half)
        self.checkpoint, self.every, self.seconds, self.logged = checkpoint, every, 0.0, 0
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self.resume()
        self.lane.stop = self.next_point()

    @property
    def finished(self) -> bool:
        return self.lane.done == self.lane.steps

    def begin(self) -> None:
        """Measure where training starts, unless that is done."""
        if self.evaluation is not None and self.lane.done == 0:
            self.evaluation.begin(self.module)

    def next_point(self) -> int:
        """The step where the lane must wait: it is measured there, or it ends."""
        points = self.evaluation.points if self.evaluation is not None else ()
        return min((point for point in points if point > self.lane.done), default=self.lane.steps)

    def after(self, before: int, spent: Sequence[float]) -> None:
        """After a turn that the lane began at step `before`. spent: its share of each of CLOCKS."""
        done = self.lane.done
        if done == before:
            return
        self.seconds += spent[0]
        if isinstance(self.module, FineTuneModule):
            self.module.train_seconds += spent[CLOCKS.index(self.module.clock)]
        if self.evaluation is not None and done in self.evaluation.points:
            self.evaluation.record(self.module, done)
        self.lane.stop = self.next_point()
        if done // self.every > before // self.every and not self.finished:
            self.save()

    def log_losses(self, loggers: Sequence[Logger], every: int) -> None:
        """The losses of every `every`th step since the last call."""
        done = self.lane.done
        steps = [step for step in range(every, done + 1, every) if step > self.logged]
        for step, losses in zip(steps, self.lane.history[[step - 1 for step in steps]].tolist(), strict=True):
            row = {f"train/{name}": loss for name, loss in zip(self.lane.losses, losses, strict=True)}
            for logger in loggers:
                logger.log_metrics({"step": step, **row}, step=step)
        self.logged = done

    def save(self) -> None:
        measured = self.evaluation.state_dict() if self.evaluation is not None else {"rows": [], "samples": {}}
        tensors = self.lane.state() | {"seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        tensors |= {f"{SAMPLE}{step}": images for step, images in measured["samples"].items()}
        save_tensors(self.checkpoint, tensors, {"rows": json.dumps(measured["rows"])})

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one; a damaged one is deleted with a warning."""
        if not self.checkpoint.exists():
            return
        try:
            saved, rows = self.saved()
        except (KeyError, OSError, SafetensorError, ValueError) as error:
            log.warning("%s is damaged (%s): the training starts anew", self.checkpoint, error)
            self.checkpoint.unlink()
            return
        self.seconds = float(saved["seconds"])
        self.lane.load_state(saved)
        if self.evaluation is not None:
            samples = {int(name[len(SAMPLE) :]): images for name, images in saved.items() if name.startswith(SAMPLE)}
            self.evaluation.load_state_dict({"rows": rows, "samples": samples})

    def saved(self) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        """The checkpoint's tensors and rows. Raises one of many errors where they are not those of this lane."""
        with safe_open(self.checkpoint, "pt") as held:
            tensors = {name: held.get_tensor(name) for name in held.offset_keys()}
            rows = json.loads((held.metadata() or {})["rows"])
        for name, value in (self.lane.state() | {"seconds": torch.zeros(())}).items():
            if tensors[name].shape != value.shape:
                raise ValueError(f"{name} has another shape")
        return tensors, rows


def fit_lane(
    runtime: Runtime, training: Training, checkpoint: Path, loggers: Sequence[Logger], label: str, bar: bool
) -> float:
    """Train one lane to its end; -> its seconds, those of attempts before a kill included."""
    device = torch.device(runtime.device)
    run = LaneRun(training, checkpoint, runtime.checkpoint_every, device, HALF[runtime.trainer["precision"]])
    lanes = Lanes(device)
    lanes.add(run.lane)
    run.logged = run.lane.done
    run.begin()
    with tqdm(desc=label, total=run.lane.steps, initial=run.lane.done, disable=None if bar else True, leave=False) as t:
        while not run.finished:
            advance(lanes, [run], min(TURN, runtime.checkpoint_every))
            run.log_losses(loggers, runtime.logger.every)
            t.update(run.lane.done - t.n)
    return run.seconds


def advance(lanes: Lanes, runs: Sequence[LaneRun], turn: int) -> None:
    """Every run `turn` steps on, at most to where it must wait."""
    before, started = [run.lane.done for run in runs], [clock() for clock in CLOCKS]
    lanes.advance(turn)
    spent = [clock() - start for clock, start in zip(CLOCKS, started, strict=True)]
    steps = sum(run.lane.done for run in runs) - sum(before)
    for run, begun in zip(runs, before, strict=True):
        run.after(begun, [seconds * (run.lane.done - begun) / max(steps, 1) for seconds in spent])

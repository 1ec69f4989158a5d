"""LoRAs of several concepts trained at once in one process (fleet.size > 1), each published when it is finished.

Each is an ordinary artifact with a checkpoint of its own, so a killed run goes on with other sizes, workers or shards.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tqdm import tqdm

from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs
from experiments.stages.lora import publish, training
from experiments.training.fit import tracked
from weightgen.artifacts import Spec, Store
from weightgen.errors import WeightgenError
from weightgen.files import save_tensors
from weightgen.translation.lane import Lane, Lanes

log = logging.getLogger(__name__)
TURN = 10  # steps of every lane between two looks at who is finished
HALF = {"32-true": False, "bf16-mixed": True}


def train_together(store: Store, specs: Sequence[Spec], runtime: Runtime, row: int = 0) -> None:
    """Build what is missing of `specs`, whose inputs are there, `runtime.fleet` at a time. row: of the progress bar.

    A concept that another process trains is left to it. When nothing else is left its end is waited for, since that
    process may be killed. Raises WeightgenError for a precision that lanes do not have.
    """
    if runtime.trainer["precision"] not in HALF:
        raise WeightgenError(
            f"strategy.trainer.precision={runtime.trainer['precision']}: fleet.size above 1 trains in "
            f"{' or '.join(HALF)}; use one of them, or fleet.size=1"
        )
    try:
        while missing := [spec for spec in specs if not store.has(spec)]:
            if any(map(store.claim, missing)) or store.claim(missing[0], wait=True):
                Fleet(store, missing, runtime).train(row)
    finally:
        store.release()


class Fleet:
    """Trains and publishes those of `specs` that nobody else does."""

    def __init__(self, store: Store, specs: Sequence[Spec], runtime: Runtime) -> None:
        self.store, self.waiting, self.runtime = store, list(specs), runtime
        self.device = torch.device("cuda" if runtime.gpu else "cpu")
        self.lanes, self.room = Lanes(self.device), runtime.fleet
        self.at_work: dict[Spec, Lane] = {}
        self.seconds: dict[Spec, float] = {}  # of each, its share of the process' time

    def train(self, row: int = 0) -> None:
        total = sum(spec.config["steps"] for spec in self.waiting)
        bar = tqdm(
            desc=f"lora x {self.room}", total=total, unit=" concept-steps", disable=None, leave=False, position=row
        )
        turn = min(TURN, self.runtime.checkpoint_every)
        while self.enter() or self.at_work:
            start, before = time.perf_counter(), sum(lane.done for lane in self.at_work.values())
            self.lanes.advance(turn)
            share = (time.perf_counter() - start) / len(self.at_work)
            bar.update(sum(lane.done for lane in self.at_work.values()) - before)
            for spec, lane in list(self.at_work.items()):
                self.seconds[spec] += share
                if lane.done == lane.steps:
                    self.leave(spec, lane)
                elif lane.done % self.runtime.checkpoint_every < turn:
                    seconds = {"seconds": torch.tensor(self.seconds[spec])}
                    save_tensors(self.checkpoint(spec), lane.state() | seconds)
        bar.close()

    def enter(self) -> bool:
        """Fill the room with concepts that nobody else trains; -> whether any came. Where memory runs out, the room is as
        large as what fits."""
        came = False
        while self.waiting and len(self.at_work) < self.room:
            spec = self.waiting.pop(0)
            if not self.store.claim(spec):
                continue
            try:
                lane = Lane(
                    *training(spec.config, Inputs.of(self.store, spec)),
                    self.device,
                    HALF[self.runtime.trainer["precision"]],
                )
                self.lanes.add(lane)
            except torch.OutOfMemoryError:
                if not self.at_work:
                    raise
                self.waiting.insert(0, spec)
                self.room = len(self.at_work)
                break
            self.seconds[spec] = 0.0
            if saved := self.saved(spec):
                self.seconds[spec] = float(saved.pop("seconds"))
                lane.load_state(saved)
            self.at_work[spec], came = lane, True
        return came

    def leave(self, spec: Spec, lane: Lane) -> None:
        """Publish a finished concept, with its losses."""
        del self.at_work[spec]
        self.lanes.remove(lane)

        def build(folder: Path) -> dict[str, Any]:
            runtime, inputs = self.runtime.named(spec), Inputs.of(self.store, spec)
            with tracked(runtime, folder) as loggers:
                every = runtime.logger.every
                for step, losses in enumerate(lane.history[every - 1 :: every].tolist(), 1):
                    row = {f"train/{name}": loss for name, loss in zip(lane.losses, losses, strict=True)}
                    for logger in loggers:
                        logger.log_metrics({"step": step * every, **row}, step=step * every)
                return publish(spec.config, inputs, folder, runtime, loggers, lane.module, self.seconds[spec])

        self.store.ensure(spec, build)

    def saved(self, spec: Spec) -> dict[str, torch.Tensor]:
        """What a killed process left of a concept's training; a damaged file is deleted with a warning."""
        path = self.checkpoint(spec)
        try:
            return load_file(path) if path.exists() else {}
        except (OSError, SafetensorError) as error:
            log.warning("%s is damaged (%s): the training starts anew", path, error)
            path.unlink()
            return {}

    def checkpoint(self, spec: Spec) -> Path:
        path = self.store.partial(spec) / ".checkpoint" / "lane.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

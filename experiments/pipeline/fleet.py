"""Trainings of several concepts at once in one process (fleet.size > 1), each published when it is finished.

Each is an ordinary artifact with a checkpoint of its own, so a killed run goes on with other sizes, workers or shards.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.pipeline.runtime import Runtime
from experiments.pipeline.shards import steps_of
from experiments.pipeline.stage import Inputs
from experiments.stages import finetune, lora
from experiments.training.fit import tracked
from experiments.training.lanes import HALF, TURN, LaneRun, advance
from weightgen.artifacts import Spec, Store
from weightgen.errors import WeightgenError
from weightgen.lanes import Lanes

FLEETS = {"lora": lora, "finetune": finetune}  # stages whose `training` and `publish` are apart


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
        self.device = torch.device(runtime.device)
        self.lanes, self.room = Lanes(self.device), runtime.fleet
        self.at_work: dict[Spec, LaneRun] = {}

    def train(self, row: int = 0) -> None:
        total = sum(steps_of(spec) for spec in self.waiting)
        label = f"{self.waiting[0].stage} x {self.room}"
        bar = tqdm(desc=label, total=total, unit=" concept-steps", disable=None, leave=False, position=row)
        turn = min(TURN, self.runtime.checkpoint_every)
        while self.enter() or self.at_work:
            before = sum(run.lane.done for run in self.at_work.values())
            advance(self.lanes, list(self.at_work.values()), turn)
            bar.update(sum(run.lane.done for run in self.at_work.values()) - before)
            for spec, run in list(self.at_work.items()):
                if run.finished:
                    self.leave(spec, run)
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
                run = self.run(spec)
                self.lanes.add(run.lane)
            except torch.OutOfMemoryError:
                if not self.at_work:
                    raise
                self.waiting.insert(0, spec)
                self.room = len(self.at_work)
                break
            run.begin()
            self.at_work[spec], came = run, True
        return came

    def run(self, spec: Spec) -> LaneRun:
        """The training of `spec`, where a killed process left it."""
        stage, half = FLEETS[spec.stage], HALF[self.runtime.trainer["precision"]]
        checkpoint = self.store.partial(spec) / ".checkpoint" / "lane.safetensors"
        training = stage.training(spec.config, Inputs.of(self.store, spec), self.runtime)
        return LaneRun(training, checkpoint, self.runtime.checkpoint_every, self.device, half)

    def leave(self, spec: Spec, run: LaneRun) -> None:
        """Publish a finished concept, with its losses."""
        del self.at_work[spec]
        self.lanes.remove(run.lane)

        def build(folder: Path) -> dict[str, Any]:
            runtime, inputs = self.runtime.named(spec), Inputs.of(self.store, spec)
            with tracked(runtime, folder) as loggers:
                run.log_losses(loggers, runtime.logger.every)
                given = spec.config, inputs, folder, runtime, loggers
                return FLEETS[spec.stage].publish(*given, run.training, run.seconds)

        self.store.ensure(spec, build)

"""fleet.size > 1 gives the artifacts that one run a concept gives, through kills and races."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiments.pipeline import lora_lanes
from experiments.pipeline.build import Pipeline
from experiments.pipeline.stage import Inputs
from experiments.stages.lora import publish, training
from experiments.training.csv_log import read
from tests.helpers.apps import ROOT
from tests.helpers.configs import composed
from weightgen.artifacts import Spec, Store
from weightgen.errors import WeightgenError
from weightgen.translation.lane import Lane

RECIPE = ["experiment=smoke", "logger=csv", "strategy.workers=1"]


@pytest.fixture
def zoo(smoke, tmp_path: Path):
    """A function: overrides -> a pipeline in tmp_path with the smoke run's pairs and base and without a LoRA."""

    def build(*overrides: str, folder: str = "artifacts") -> Pipeline:
        for stage in ("photos", "pairs", "base", "text"):
            if not (tmp_path / folder / stage).exists():
                shutil.copytree(smoke.folder / "artifacts" / stage, tmp_path / folder / stage)
        return Pipeline(composed(*RECIPE, f"paths.artifacts={tmp_path / folder}", *overrides))

    return build


def train_specs(pipeline: Pipeline) -> list[Spec]:
    return [pipeline.lora(concept) for concept in pipeline.split("train")]


def weights(pipeline: Pipeline) -> dict[str, dict[str, torch.Tensor]]:
    store = pipeline.store
    return {s.key: load_file(store.require(s) / "lora.safetensors") for s in train_specs(pipeline)}


def assert_same_weights(ours: Pipeline, theirs: Pipeline) -> None:
    """To the last bit: on a CPU both run the same step."""
    a, b = weights(ours), weights(theirs)
    assert a.keys() == b.keys()
    for key, state in a.items():
        assert [name for name in state if not torch.equal(state[name], b[key][name])] == []


@pytest.mark.parametrize(
    "options",
    [
        ["budget.lora.steps=20"],
        ["budget.lora.adversarial=false"],
        ["lora=ab", "lora.ranks={down: 1, transformer: 1, up: 1, out: 1}", "lora.seeds=own"],
    ],
    ids=["gan", "l1", "own seeds"],
)
def test_a_fleet_leaves_the_artifacts_of_one_run_a_concept(zoo, options: list[str]) -> None:
    solo, fleet = (zoo(*options, f"fleet.size={size}", "logger.every=3", folder=f"of{size}") for size in (1, 4))
    for pipeline in (solo, fleet):
        pipeline.ensure_all(train_specs(pipeline))
    assert_same_weights(fleet, solo)
    for spec in train_specs(fleet):
        ours, theirs = fleet.store.metrics(spec), solo.store.metrics(spec)
        assert {k: v for k, v in ours.items() if k != "seconds"} == {k: v for k, v in theirs.items() if k != "seconds"}
        assert ours["seconds"] > 0
        logs = [read(pipeline.store.require(spec) / "log" / "metrics.csv") for pipeline in (fleet, solo)]
        assert logs[0] == logs[1]


KILLER = """
import os, signal, sys
from weightgen.translation.lane import Lane
at, steps, step = int(sys.argv.pop(1)), [0], Lane.step
def counting(self):
    if steps[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    steps[0] += 1
    step(self)
Lane.step = counting
from experiments.train_loras import main
main()
"""


@pytest.fixture
def trained_steps(monkeypatch) -> list[Lane]:
    """Grows by one with every step of any lane."""
    steps, step = [], Lane.step

    def counting(self):
        steps.append(self)
        step(self)

    monkeypatch.setattr(Lane, "step", counting)
    return steps


def test_kill_9_loses_one_checkpoint_interval_and_no_finished_concept(zoo, tmp_path: Path, trained_steps) -> None:
    """6 concepts of 6 steps, 2 at a time, in turns of 4 steps with a checkpoint after each; killed at step 22: the first two
    are finished (12 steps), the next two were saved at their step 4 (8 more), two steps later both are at 5."""
    pipeline = zoo("fleet.size=2")
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    overrides = [*RECIPE, "fleet.size=2", f"paths.artifacts={pipeline.store.root}"]
    command = [sys.executable, script, "22", *overrides, f"hydra.run.dir={tmp_path}/out"]
    killed = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    specs = train_specs(pipeline)
    assert [pipeline.store.has(spec) for spec in specs] == [True] * 2 + [False] * 4
    before = {p: p.stat().st_mtime_ns for spec in specs[:2] for p in pipeline.store.path(spec).rglob("*")}

    again = zoo("fleet.size=3")  # other sizes, workers or shards find what was saved too
    again.ensure_all(specs)
    assert len(trained_steps) == 2 * 2 + 2 * 6
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert not list((again.store.root / "lora").glob(".partial/*/"))
    solo = zoo("fleet.size=1", folder="solo")
    solo.ensure_all(train_specs(solo))
    assert_same_weights(again, solo)


@pytest.mark.parametrize("ends", ["finishes", "dies"])
def test_of_two_jobs_that_want_a_concept_one_makes_it(zoo, monkeypatch, trained_steps, ends: str) -> None:
    pipeline = zoo("fleet.size=3", "budget.lora.steps=2")
    specs = train_specs(pipeline)
    other = Store(pipeline.store.root)
    assert other.claim(specs[0])

    def and_then(*arguments):
        """As we publish our first, the other job comes to its end."""
        if ends == "finishes":
            other.ensure(specs[0], lambda folder: {"by": "the other job"})
        other.release()
        return publish(*arguments)

    monkeypatch.setattr(lora_lanes, "publish", and_then)
    pipeline.ensure_all(specs)
    assert all(map(pipeline.store.has, specs))
    by_other = pipeline.store.metrics(specs[0]).get("by") == "the other job"
    assert by_other == (ends == "finishes")
    assert len(trained_steps) == (5 if by_other else 6) * 2
    assert Store(pipeline.store.root).claim(specs[0]) is False


def test_where_memory_runs_out_fewer_train_at_once(zoo, monkeypatch) -> None:
    pipeline, room, add = zoo("fleet.size=4", "budget.lora.steps=2"), [], lora_lanes.Lanes.add

    def full(self, lane):
        if len(self.stream_of) == 2:
            raise torch.OutOfMemoryError
        add(self, lane)
        room.append(len(self.stream_of))

    monkeypatch.setattr(lora_lanes.Lanes, "add", full)
    pipeline.ensure_all(train_specs(pipeline))
    assert all(map(pipeline.store.has, train_specs(pipeline)))
    assert room == [1, 2, 1, 2, 1, 2]


def test_a_precision_that_lanes_lack_is_named(zoo) -> None:
    pipeline = zoo("fleet.size=2", "strategy.trainer.precision=bf16-true")
    with pytest.raises(WeightgenError, match=r"precision=bf16-true.*fleet\.size=1"):
        pipeline.ensure_all(train_specs(pipeline))


def test_a_diverged_concept_is_recorded_and_has_no_weights(zoo, monkeypatch) -> None:
    # the base of the smoke recipe is itself far from the targets: whatever is drawn, hardly anything is 1.5 times as far
    monkeypatch.setattr("experiments.stages.lora.DIVERGED", 1.1)
    pipeline = zoo()

    def published(spec: Spec, factor: float) -> dict:
        """The record of a LoRA whose weights are `factor` everywhere."""
        for source in spec.inputs:
            pipeline.ensure(source)
        inputs = Inputs.of(pipeline.store, spec)
        module, _ = training(spec.config, inputs)
        with torch.no_grad():
            for weight in (p for p in module.generator.parameters() if p.requires_grad):
                weight.fill_(factor)
        given = spec.config, inputs
        path = pipeline.store.ensure(spec, lambda folder: publish(*given, folder, pipeline.runtime, [], module, 0.5))
        assert not (path / "lora.safetensors").exists()
        return json.loads((path / "metrics.json").read_text())

    infinite, wild = train_specs(pipeline)[:2]
    record = published(infinite, float("nan"))
    assert record.keys() == {"diverged", "unchanged", "l1_zero", "steps", "seconds"}
    assert (record["diverged"], record["steps"], record["seconds"]) == (True, 6, 0.5)
    record = published(wild, 1e3)
    assert record["diverged"] is True
    assert record["l1"] > 1.1 * record["l1_zero"] > 0

"""fleet.size > 1 gives the artifacts that one run a concept gives, through kills and races."""

import csv
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

from experiments.pipeline import lora_fleet
from experiments.pipeline.build import Pipeline
from experiments.pipeline.fleet_folders import FleetFolders
from experiments.pipeline.stage import Inputs
from experiments.stages.lora import publish
from tests.helpers.apps import ROOT
from tests.helpers.configs import composed
from weightgen.artifacts import Spec, Store
from weightgen.translation.fleet.members import FleetResult
from weightgen.translation.fleet.training import FleetModule

# at the recipe's 1e-2 the runs are chaotic: rounding grows to 1e-4 within a few steps
RECIPE = ["experiment=smoke", "logger=csv", "strategy.workers=1", "budget.lora.optimizer.lr=1e-3"]


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
    a, b = weights(ours), weights(theirs)
    assert a.keys() == b.keys()
    for key, state in a.items():
        assert state.keys() == b[key].keys()
        for name, weight in state.items():
            torch.testing.assert_close(weight, b[key][name], atol=1e-4, rtol=0, msg=f"{key} {name}")


def no_fleet_left(pipeline: Pipeline) -> bool:
    return not list((pipeline.store.root / "lora" / ".fleets").iterdir())


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
    solo, fleet = zoo(*options, folder="solo"), zoo(*options, "fleet.size=4", "logger.every=3")
    for pipeline in (solo, fleet):
        pipeline.ensure_all(train_specs(pipeline))
    assert_same_weights(fleet, solo)
    for spec in train_specs(fleet):
        ours, theirs = fleet.store.metrics(spec), solo.store.metrics(spec)
        assert ours.keys() == theirs.keys()
        assert (ours["steps"], ours["l1_zero"]) == (theirs["steps"], theirs["l1_zero"])
        assert ours["l1"] == pytest.approx(theirs["l1"], abs=1e-3)
        log = fleet.store.require(spec) / "log"
        with (log / "metrics.csv").open() as scores:
            assert float(next(csv.DictReader(scores))["l1"]) == pytest.approx(ours["l1"])
        with (log / "fleet.csv").open() as losses:  # the mean of those who trained beside it
            assert float(next(csv.DictReader(losses))["train/l1"]) > 0
    assert no_fleet_left(fleet)


def test_unlike_loras_are_in_different_fleets(zoo) -> None:
    pipeline = zoo("fleet.size=4", "strategy.workers=2")
    train = train_specs(pipeline)
    longer = [pipeline.lora(concept) for concept in pipeline.test_concepts]  # more steps, else alike
    others = train_specs(pipeline.sibling("all"))
    level = train + longer + others
    alike = train + longer
    assert pipeline.parts(level) == [alike[::2], alike[1::2], others[::2], others[1::2]]
    assert zoo().parts(level) == [[spec] for spec in level]


KILLER = """
import os, signal, sys
import experiments.training.fit as training
at = int(sys.argv.pop(1))
save = training.Checkpoints.on_train_batch_end
def hook(self, *args):
    save(self, *args)
    if "/.fleets/" in str(self.path) and args[-1] + 1 == at:
        os.kill(os.getpid(), signal.SIGKILL)
training.Checkpoints.on_train_batch_end = hook
from experiments.train_loras import main
main()
"""


@pytest.fixture
def trained_steps(monkeypatch) -> list[int]:
    """Grows by how many concepts each fleet step trains."""
    counts, update = [], FleetModule._update

    def counting(self, members):
        counts.append(len(members))
        return update(self, members)

    monkeypatch.setattr(FleetModule, "_update", counting)
    return counts


def stamps(pipeline: Pipeline) -> dict[Path, int]:
    finished = (spec for spec in train_specs(pipeline) if pipeline.store.has(spec))
    return {p: p.stat().st_mtime_ns for spec in finished for p in pipeline.store.path(spec).rglob("*")}


def test_kill_9_loses_one_checkpoint_interval_and_no_finished_concept(
    zoo, tmp_path: Path, trained_steps: list[int]
) -> None:
    """6 concepts of 6 steps, 2 at a time, checkpoints every 4 steps: at 11, the first 2 are finished, the next 2 are at
    their step 5 and saved at 2, so 2 * 4 + 2 * 6 concept-steps are left."""
    pipeline = zoo("fleet.size=2")
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    overrides = [*RECIPE, "fleet.size=2", f"paths.artifacts={pipeline.store.root}"]
    command = [sys.executable, script, "11", *overrides, f"hydra.run.dir={tmp_path}/out"]
    killed = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    before = stamps(pipeline)
    assert [pipeline.store.has(spec) for spec in train_specs(pipeline)] == [True] * 2 + [False] * 4

    again = zoo("fleet.size=3")  # other sizes, workers or shards find what was saved too
    again.ensure_all(train_specs(again))
    assert sum(trained_steps) == 2 * 4 + 2 * 6
    assert before == {path: stamp for path, stamp in stamps(again).items() if path in before}
    assert all(again.store.metrics(spec)["steps"] == 6 for spec in train_specs(again))
    assert no_fleet_left(again)
    solo = zoo(folder="solo")
    solo.ensure_all(train_specs(solo))
    assert_same_weights(again, solo)


class Cut(BaseException):
    """Ends a fleet like a kill: nothing is tidied up."""


def test_a_concept_that_left_after_the_last_checkpoint_is_not_trained_again(
    zoo, monkeypatch, trained_steps: list[int]
) -> None:
    """Saved at step 4; the first 2 leave at 6; cut at 7. The next 2, entered since, start again: 4 * 6 steps are left."""
    pipeline, step = zoo("fleet.size=2"), FleetModule.training_step

    def cut(self, batch, index):
        if index == 7:
            raise Cut
        step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(FleetModule, "training_step", cut)
        with pytest.raises(Cut):
            pipeline.ensure_all(train_specs(pipeline))
    (left,) = (pipeline.store.root / "lora" / ".fleets").glob("*/.checkpoint/last.ckpt")
    saved = FleetFolders(pipeline.store.root / "lora").saved([s.key for s in train_specs(pipeline)])
    assert [(state["name"], state["step"]) for state in saved] == [(spec.key, 4) for spec in train_specs(pipeline)[:2]]
    before, trained_steps[:] = stamps(pipeline), []
    again = zoo("fleet.size=2")
    again.ensure_all(train_specs(again))
    assert sum(trained_steps) == 4 * 6
    assert before == {path: stamp for path, stamp in stamps(again).items() if path in before}
    assert not left.exists()


@pytest.mark.parametrize("ends", ["finishes", "dies"])
def test_of_two_jobs_that_want_a_concept_one_makes_it(zoo, monkeypatch, trained_steps: list[int], ends: str) -> None:
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

    monkeypatch.setattr(lora_fleet, "publish", and_then)
    pipeline.ensure_all(specs)
    assert all(map(pipeline.store.has, specs))
    by_other = pipeline.store.metrics(specs[0]).get("by") == "the other job"
    assert by_other == (ends == "finishes")
    assert sum(trained_steps) == (5 if by_other else 6) * 2
    assert Store(pipeline.store.root).claim(specs[0]) is False
    assert no_fleet_left(pipeline)


def test_a_diverged_concept_is_recorded_and_has_no_weights(zoo, monkeypatch) -> None:
    # the base of the smoke recipe is itself far from the targets: whatever is drawn, hardly anything is 1.5 times as far
    monkeypatch.setattr("experiments.stages.lora.DIVERGED", 1.1)
    pipeline = zoo()
    infinite, wild = train_specs(pipeline)[:2]

    def published(spec: Spec, result: FleetResult) -> Path:
        given = spec.config, Inputs.of(pipeline.store, spec)
        return pipeline.store.ensure(spec, lambda folder: publish(*given, folder, pipeline.runtime, [], result))

    for source in (*infinite.inputs, *wild.inputs):
        pipeline.ensure(source)
    path = published(infinite, FleetResult(infinite.key, None, 4, 0.5))
    record = json.loads((path / "metrics.json").read_text())
    assert record.keys() == {"diverged", "l1_zero", "steps", "seconds"}
    assert (record["diverged"], record["steps"], record["seconds"]) == (True, 4, 0.5)
    assert not (path / "lora.safetensors").exists()

    trained = zoo(folder="trained")
    trained.ensure_all([wild])
    state = {k: 1e3 * v for k, v in load_file(trained.store.require(wild) / "lora.safetensors").items()}
    path = published(wild, FleetResult(wild.key, state, 6, 0.5))
    record = json.loads((path / "metrics.json").read_text())
    assert record["diverged"] is True
    assert record["l1"] > 1.1 * record["l1_zero"] > 0
    assert not (path / "lora.safetensors").exists()

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

from experiments.pipeline import fleet as fleets
from experiments.pipeline.build import Pipeline
from experiments.pipeline.shards import kind, trains
from experiments.pipeline.stage import Inputs
from experiments.stages.lora import publish, training
from experiments.training.csv_log import read
from tests.helpers.apps import ROOT
from tests.helpers.configs import composed
from weightgen.artifacts import Spec, Store
from weightgen.diffusion.lane import DenoiserLane
from weightgen.errors import WeightgenError
from weightgen.evaluation.callback import EvaluationCallback
from weightgen.lanes import Lane

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


METHODS = ["pix2pix", "e2gan", "nearest", "trained"]  # nets of two kinds, and one that nothing trains
COMPARED = [f"methods=[{','.join(METHODS)}]", "splits=[unseen_combination]"]


def finetunes(pipeline: Pipeline) -> list[Spec]:
    concepts = pipeline.test_concepts
    return [pipeline.finetune(method, concept, 0) for method in METHODS for concept in concepts]


@pytest.mark.parametrize("given", [["fleet.size=3"], ["strategy.graphs=true"]], ids=["fleet", "graphs"])
def test_fine_tunes_on_lanes_are_those_of_lightning(zoo, given: list[str]) -> None:
    """Weights, measurements, pictures and logs to the last bit; seconds alone differ."""
    options = [*COMPARED, "logger.every=3", "budget.finetune.scratch.points=[2,5]"]
    alone, lanes = zoo(*options, folder="alone"), zoo(*options, *given, folder="lanes")
    for pipeline in (alone, lanes):
        pipeline.ensure_all(finetunes(pipeline))
    assert len(set(map(kind, filter(trains, finetunes(lanes))))) == 2
    for spec, other in zip(finetunes(lanes), finetunes(alone), strict=True):
        ours, theirs = lanes.store.require(spec), alone.store.require(other)
        assert {f.name for f in ours.iterdir()} == {f.name for f in theirs.iterdir()}
        for file in ("samples.safetensors", "generator.safetensors"):
            if (theirs / file).exists():
                a, b = load_file(ours / file), load_file(theirs / file)
                assert [name for name in b if not torch.equal(a[name], b[name])] == []
        rows = [json.loads((folder / "rows.json").read_text()) for folder in (ours, theirs)]
        seconds = [[row.pop("train_seconds") for row in side] for side in rows]
        assert rows[0] == rows[1]
        assert seconds[0] == sorted(seconds[0])
        assert seconds[0][-1] > seconds[0][0] or len(seconds[0]) == 1
        logs = [read(folder / "log" / "metrics.csv") for folder in (ours, theirs)]
        losses = [
            [(row["step"], row[name]) for row in side for name in row if name.startswith("train/")] for side in logs
        ]
        assert losses[0] == losses[1]
        assert [row["fid"] for row in logs[0] if "fid" in row] == [row["fid"] for row in logs[1] if "fid" in row]


@pytest.mark.parametrize("given", [["fleet.size=4"], ["strategy.graphs=true"]], ids=["fleet", "graphs"])
def test_a_killed_fine_tune_on_a_lane_goes_on_and_measures_nothing_twice(zoo, monkeypatch, given) -> None:
    options = [*COMPARED, "methods=[e2gan]", "budget.checkpoint_every=2", "budget.finetune.lora.steps=6"]
    options += ["budget.finetune.lora.points=[1,3]", *given]
    whole, killed = zoo(*options, folder="whole"), zoo(*options, folder="killed")

    def spec(pipeline: Pipeline) -> Spec:
        return pipeline.finetune("e2gan", pipeline.test_concepts[0], 0)

    whole.ensure_all([spec(whole)])
    step, taken = Lane.step, []

    def dies(self) -> None:
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(step(self))

    with monkeypatch.context() as patched:
        patched.setattr(Lane, "step", dies)
        with pytest.raises(KeyboardInterrupt):
            killed.ensure_all([spec(killed)])
    again, record, measured = zoo(*options, folder="killed"), EvaluationCallback.record, []
    monkeypatch.setattr(EvaluationCallback, "record", lambda *given: (measured.append(given[2]), record(*given)))
    again.ensure_all([spec(again)])
    rows = [json.loads((p.store.require(spec(p)) / "rows.json").read_text()) for p in (whole, again)]
    steps = [row["step"] for row in rows[0]]
    assert steps[:3] == [0, 1, 3]
    assert measured == steps[3:]  # the checkpoint at step 4 knows 0, 1 and 3
    assert [{k: v for k, v in row.items() if k != "train_seconds"} for row in rows[0]] == [
        {k: v for k, v in row.items() if k != "train_seconds"} for row in rows[1]
    ]
    saved = [load_file(p.store.require(spec(p)) / "generator.safetensors") for p in (whole, again)]
    assert all(torch.equal(weight, saved[1][name]) for name, weight in saved[0].items())


def test_a_base_on_a_lane_is_that_of_lightning_and_damage_starts_it_anew(zoo, caplog) -> None:
    alone, lane = zoo(folder="alone"), zoo("strategy.graphs=true", folder="lane")
    for pipeline in (alone, lane):
        shutil.rmtree(pipeline.store.root / "base")
    checkpoint = lane.store.partial(lane.base_spec) / ".checkpoint" / "lane.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"no tensors")
    for pipeline in (alone, lane):
        pipeline.ensure_all([pipeline.base_spec])
    assert "is damaged" in caplog.text
    for net in ("generator", "discriminator"):
        ours, theirs = (load_file(p.store.require(p.base_spec) / f"{net}.safetensors") for p in (lane, alone))
        assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_denoiser_function_and_refiner_on_lanes_are_those_of_lightning(zoo, monkeypatch) -> None:
    """To the last bit, logs included, where each is killed on the way once."""
    given = ["init=guided", "logger.every=2", "budget.checkpoint_every=1", "budget.function.perceptual=0.1"]
    alone, lanes = zoo(*given, folder="alone"), zoo(*given, "strategy.graphs=true", folder="lanes")
    alone.ensure_all([alone.guide])
    specs = [spec for spec in alone.guide.inputs if spec.stage == "function"] + [alone.guide]
    specs = [*[spec for spec in specs[0].inputs if spec.stage == "denoiser"], *specs]
    assert [spec.stage for spec in specs] == ["denoiser", "function", "guide"]
    step, taken = DenoiserLane.step, []

    def dies(self) -> None:
        taken.append(step(self))
        if len(taken) in (2, 8, 14):
            raise KeyboardInterrupt

    monkeypatch.setattr(DenoiserLane, "step", dies)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            lanes.ensure_all([lanes.guide])
    lanes.ensure_all([lanes.guide])
    assert len(taken) == sum(spec.config["budget"]["steps"] for spec in specs) + 3
    for spec in specs:
        ours, theirs = (pipeline.store.require(spec) for pipeline in (lanes, alone))
        name = "refiner" if spec.stage == "guide" else "denoiser"
        a, b = (load_file(folder / f"{name}.safetensors") for folder in (ours, theirs))
        assert [key for key in b if not torch.equal(a[key], b[key])] == []
        losses = [
            [
                (row["step"], row[column])
                for row in read(folder / "log/metrics.csv")
                for column in row
                if "train/" in column
            ]
            for folder in (ours, theirs)
        ]
        assert losses[0] == losses[1]
        assert losses[0]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_and_runs_without_steps_train_one_by_one(zoo, dropout: float) -> None:
    pipeline = zoo("fleet.size=4", f"scratch.dropout={dropout}", *COMPARED)
    by_method = {spec.subject[0]: spec for spec in finetunes(pipeline)}
    assert trains(by_method["pix2pix"]) == (dropout == 0)
    assert trains(by_method["e2gan"])
    steps = by_method["trained"].config["budget"]["steps"]
    assert trains(by_method["trained"]) == (steps > 0)
    parts = pipeline.parts(finetunes(pipeline))
    assert sorted(spec.key for part in parts for spec in part) == sorted(spec.key for spec in finetunes(pipeline))
    assert all(len({kind(spec) for spec in part}) == 1 for part in parts)


KILLER = """
import os, signal, sys
from weightgen.lanes import Lane
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

    monkeypatch.setattr(fleets.lora, "publish", and_then)
    pipeline.ensure_all(specs)
    assert all(map(pipeline.store.has, specs))
    by_other = pipeline.store.metrics(specs[0]).get("by") == "the other job"
    assert by_other == (ends == "finishes")
    assert len(trained_steps) == (5 if by_other else 6) * 2
    assert Store(pipeline.store.root).claim(specs[0]) is False


def test_where_memory_runs_out_fewer_train_at_once(zoo, monkeypatch) -> None:
    pipeline, room, add = zoo("fleet.size=4", "budget.lora.steps=2"), [], fleets.Lanes.add

    def full(self, lane):
        if len(self.stream_of) == 2:
            raise torch.OutOfMemoryError
        add(self, lane)
        room.append(len(self.stream_of))

    monkeypatch.setattr(fleets.Lanes, "add", full)
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
        trained = training(spec.config, inputs, pipeline.runtime)
        with torch.no_grad():
            for weight in (p for p in trained.module.generator.parameters() if p.requires_grad):
                weight.fill_(factor)
        given = spec.config, inputs
        path = pipeline.store.ensure(spec, lambda folder: publish(*given, folder, pipeline.runtime, [], trained, 0.5))
        assert not (path / "lora.safetensors").exists()
        return json.loads((path / "metrics.json").read_text())

    infinite, wild = train_specs(pipeline)[:2]
    record = published(infinite, float("nan"))
    assert record.keys() == {"diverged", "unchanged", "l1_zero", "steps", "seconds"}
    assert (record["diverged"], record["steps"], record["seconds"]) == (True, 6, 0.5)
    record = published(wild, 1e3)
    assert record["diverged"] is True
    assert record["l1"] > 1.1 * record["l1_zero"] > 0

"""The parent of a multirun judges its jobs by what they have finished."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments.command.app import explain
from experiments.sweeps import jobs as _jobs
from experiments.sweeps.jobs import RECORD, Jobs, Sweep, judge
from weightgen.artifacts import FILES, Spec, Store
from weightgen.errors import WeightgenError


def record(sweep: Path, number: int, status: str, *artifacts: Path, subdir: str = "", **more: str) -> None:
    """What job `number` of the sweep says of itself."""
    folder = sweep / (subdir or str(number))
    folder.mkdir(parents=True)
    told = [{"label": path.name, "path": str(path)} for path in artifacts]
    content = {"number": number, "overrides": [f"seed={number}"], "status": status, "artifacts": told, **more}
    (folder / RECORD).write_text(json.dumps(content))


@pytest.fixture
def done(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts" / "lora of ink"
    folder.mkdir(parents=True)
    (folder / FILES).write_text("{}")
    return folder


def test_artifacts_decide_whatever_the_job_said_last(tmp_path: Path, done: Path) -> None:
    sweep, missing = tmp_path / "sweep", tmp_path / "artifacts" / "lora of oil"
    record(sweep, 0, "done", done)
    record(sweep, 1, "begun", done)  # killed after its work: the work counts
    record(sweep, 2, "done", done, missing)
    record(sweep, 3, "begun", missing, missing)
    record(sweep, 4, "failed", done, error="the disk is full")
    record(sweep, 5, "begun")
    record(sweep, 6, "done")  # an app that makes no artifacts
    assert Sweep(sweep, 8).failures() == [
        "job 2 (seed=2): ended without lora of oil (killed, or out of time)",
        "job 3 (seed=3): ended without lora of oil and 1 more (killed, or out of time)",
        "job 4 (seed=4): the disk is full",
        "job 5 (seed=5): ended before it was done (killed, or out of time)",
        "job 7: never began",
    ]


def test_jobs_are_found_wherever_their_folders_are(tmp_path: Path, done: Path) -> None:
    record(tmp_path / "sweep", 0, "done", done, subdir="init=mean/seed=0")
    assert Sweep(tmp_path / "sweep", 1).failures() == []


@pytest.mark.parametrize(("jobs", "hydra", "code"), [(2, 0, 0), (3, 0, 1), (2, 7, 7), (3, 7, 7)])
def test_the_exit_code_is_one_if_a_job_is_missing(
    tmp_path: Path, done: Path, monkeypatch, capsys, jobs: int, hydra: int, code: int
) -> None:
    for number in (0, 1):
        record(tmp_path / "sweep", number, "done", done)
    monkeypatch.setattr(Jobs, "sweep", Sweep(tmp_path / "sweep", jobs))
    if code:
        with pytest.raises(SystemExit) as ended:
            judge(lambda: sys.exit(hydra))
        assert ended.value.code == code
    else:
        judge(lambda: None)
    said = capsys.readouterr().err
    assert ("job 2: never began" in said) == (jobs == 3)


def test_a_sweep_that_never_launched_is_left_to_hydra(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Jobs, "sweep", Sweep(tmp_path, 4))
    with pytest.raises(SystemExit):
        judge(lambda: sys.exit(1))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("params", "task", "jobs"),
    [
        ({}, ["seed=0"], 1),
        ({}, ["seed=0,1,2", "init=mean,nearest"], 6),
        ({}, ["fleet.shard=range(0,4)"], 4),
        ({"seed": "0,1", "init": "mean,nearest"}, [], 4),
        ({"seed": "0,1"}, ["seed=range(0,5)"], 5),
        (None, ["seed=choice(1,2)"], 2),
    ],
)
def test_jobs_are_counted_as_hydra_does(params: dict | None, task: list[str], jobs: int) -> None:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": params}
    assert _jobs._count(OmegaConf.create({"hydra": {"sweeper": sweeper, "overrides": {"task": task}}})) == jobs
    given = [f"{key}={value}" for key, value in (params or {}).items()] + task
    assert len(BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(given), None)[0]) == jobs


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", r"pip install -e '\.\[ray\]'"),
        ("hydra_plugins.nosuch.launcher.Launcher", "needs nosuch"),
    ],
)
def test_a_missing_plugin_is_one_line_with_its_remedy(monkeypatch, capsys, target: str, said: str) -> None:
    monkeypatch.setattr(_jobs, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        _jobs._require_plugin(OmegaConf.create({"_target_": target}))
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)


@pytest.fixture
def job(tmp_path: Path, monkeypatch) -> Path:
    """This process is job 3 of a multirun; its record."""
    hydra = {"mode": RunMode.MULTIRUN, "launcher": {"_target_": "x.y"}, "job": {"num": 3}}
    hydra |= {"runtime": {"output_dir": str(tmp_path)}, "overrides": {"task": ["seed=3"]}}
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(hydra))
    return tmp_path / RECORD


@pytest.mark.parametrize(
    ("error", "said"),
    [(WeightgenError("zoo.size=99: choose 2 to 6"), "zoo.size=99: choose 2 to 6"), (KeyError("k"), "KeyError: 'k'")],
)
def test_a_job_that_fails_says_why_and_lets_the_others_go_on(job: Path, error: Exception, said: str) -> None:
    def stage(cfg):
        raise error

    assert _jobs.run_job(stage, None, explain) is None
    told = json.loads(job.read_text())
    assert (told["number"], told["status"], told["error"]) == (3, "failed", said)


def test_a_job_returns_its_value_and_records_what_it_is_for(job: Path, tmp_path: Path) -> None:
    store, spec = Store(tmp_path / "artifacts"), Spec("lora", 1, {"rank": 2}, label="lora of ink")

    def stage(cfg):
        _jobs.promise(store, [spec])
        assert Sweep(tmp_path, None).failures()[0].endswith("ended without lora of ink (killed, or out of time)")
        return 0.25

    assert _jobs.run_job(stage, None, explain) == 0.25
    told = json.loads(job.read_text())
    assert (told["status"], told["value"]) == ("done", 0.25)
    assert [(a["key"], a["path"]) for a in told["artifacts"]] == [(spec.key, str(store.path(spec)))]
    store.ensure(spec, lambda folder: None)
    assert _jobs._verdict(told) is None


def test_a_job_killed_after_it_withdrew_is_not_done(job: Path, tmp_path: Path) -> None:
    store, spec = Store(tmp_path / "artifacts"), Spec("lora", 1, {})

    def stage(cfg):
        store.ensure(spec, lambda folder: None)
        _jobs.promise(store, [spec])
        assert _jobs._verdict(json.loads(job.read_text())) is None
        _jobs.withdraw()
        assert "before it was done" in _jobs._verdict(json.loads(job.read_text()))

    _jobs.run_job(stage, None, explain)
    assert _jobs._verdict(json.loads(job.read_text())) is None


def test_a_killed_job_of_submitit_does_not_end_the_sweep(monkeypatch, capsys) -> None:
    from submitit import Job
    from submitit.core.utils import UncompletedJobError

    def results(job):
        raise UncompletedJobError("Job 7 (task: 0) ended\nwithout output")

    monkeypatch.setattr(Job, "results", results)
    _jobs._wait_for_every_job()
    (left,) = Job.results(SimpleNamespace(job_id="7"))
    assert left.return_value is None  # neither raises nor lets Hydra raise
    assert "Job 7" in capsys.readouterr().err

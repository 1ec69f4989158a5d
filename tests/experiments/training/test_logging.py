"""What the project's loggers leave: after kill -9, after a stage that goes on, after a sweep of short runs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from wandb.util import get_core_path

from experiments.pipeline.runtime import Runtime
from experiments.training.csv_log import read
from experiments.training.fit import tracked
from tests.helpers.apps import ROOT
from tests.helpers.configs import composed
from weightgen.artifacts import Spec


def runtime(folder: Path) -> Runtime:
    return Runtime.of(composed("experiment=smoke", f"logger.folder={folder}"))


def runs(folder: Path, key: str = "*") -> list[Path]:
    return sorted((folder / "wandb").glob(f"offline-run-*-{key}"))


def records(run: Path) -> list[dict]:
    """What `wandb leet inspect --json` prints, without its two seconds of Python."""
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file"]
    answer = subprocess.run([*command, next(run.glob("*.wandb"))], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]


def history(run: Path) -> str:
    return json.dumps([row for row in records(run) if row.get("type") == "history"])


KILLED = """
import os, signal, sys, time
from pathlib import Path
from experiments.pipeline.runtime import Runtime
from experiments.training.fit import tracked
from weightgen.artifacts import Spec
from tests.helpers.configs import composed
folder = Path(sys.argv[1])
runtime = Runtime.of(composed("experiment=smoke", f"logger.folder={folder}"))
with tracked(runtime.named(Spec("base", 1, {}, label="base")), folder / "stage") as loggers:
    for step in (10, 20, 30):
        for logger in loggers:
            logger.log_metrics({"loss": 1000.0 + step}, step=step)
    time.sleep(1.5)  # what is older than a second is safe
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_loses_no_metrics_older_than_a_second_and_the_run_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, tmp_path]
    killed = subprocess.run(command, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    metrics, spec = tmp_path / "stage" / "log" / "metrics.csv", Spec("base", 1, {}, label="base")
    assert read(metrics) == [{"loss": 1000.0 + step, "step": step} for step in (10, 20, 30)]
    (first,) = runs(tmp_path)
    assert first.name.endswith(spec.key)
    assert all(f"10{step}" in history(first) for step in (10, 20, 30))

    with tracked(runtime(tmp_path).named(spec), tmp_path / "stage") as loggers:  # its checkpoint was at 25
        for step in (30, 40):
            for logger in loggers:
                logger.log_metrics({"loss": 2000.0 + step}, step=step)
    assert read(metrics) == [
        {"loss": loss, "step": step} for loss, step in ((1010, 10), (1020, 20), (2030, 30), (2040, 40))
    ]
    assert {run.name.rpartition("-")[2] for run in runs(tmp_path)} == {spec.key}
    told = [history(run) for run in runs(tmp_path)]
    assert any("2040" in run and '"trainer/global_step"' in run for run in told)
    assert any("1010" in run for run in told), "the first part is there still"


def test_short_runs_of_one_process_are_all_readable(tmp_path: Path) -> None:
    """A sweep in one process: each run ends before the next begins, and none is the other's."""
    specs = [Spec("finetune", 1, {"run": i}, label=f"finetune {i}") for i in range(10)]
    for i, spec in enumerate(specs):
        with tracked(runtime(tmp_path).named(spec), tmp_path / spec.key, tags=["short"]) as loggers:
            for logger in loggers:
                logger.log_metrics({"l1": i + 0.25}, step=1)
    assert len(runs(tmp_path)) == len(specs)
    for i, spec in enumerate(specs):
        (run,) = runs(tmp_path, spec.key)
        assert f"{i}.25" in history(run)
        assert any(record.get("type") == "exit" for record in records(run)), "finished"
        assert read(tmp_path / spec.key / "log" / "metrics.csv") == [{"l1": i + 0.25, "step": 1}]


def test_a_run_that_failed_says_so(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        with tracked(runtime(tmp_path).named(Spec("base", 1, {})), tmp_path / "stage"):
            raise ZeroDivisionError
    (run,) = runs(tmp_path)
    exits = [record for record in records(run) if record.get("type") == "exit"]
    assert "1" in json.dumps(exits)

"""Launchers as a user meets them: real processes, killed and started again. SLURM: tests/slurm; Ray: test_ray."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.apps import ROOT, Runs
from weightgen.artifacts import FILES

QUICK = ["logger=csv", "strategy.workers=1"]


def launch(smoke: Runs, folder: Path, app: str, *overrides: str) -> subprocess.Popen:
    """A multirun on the finished smoke run's artifacts; jobs' folders in `folder`."""
    own = [f"paths.artifacts={smoke.folder}/artifacts", f"hydra.sweep.dir={folder}", *QUICK]
    command = [sys.executable, "-m", f"experiments.{app}", "-m", "experiment=smoke", *own, *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def wait_for(what: Callable, parent: subprocess.Popen, seconds: float = 900):
    end = time.time() + seconds
    while not (found := what()):
        assert parent.poll() is None, parent.communicate()[0]
        assert time.time() < end, "waited in vain"
        time.sleep(0.05)
    return found


def job(folder: Path, number: int) -> dict:
    path = folder / str(number) / "job.json"
    return json.loads(path.read_text()) if path.exists() else {"status": "none", "artifacts": [], "pid": 0}


def finished(folder: Path, number: int) -> list[Path]:
    """files.json of the artifacts that a job is for, those that there are."""
    paths = [Path(artifact["path"]) / FILES for artifact in job(folder, number)["artifacts"]]
    return [path for path in paths if path.exists()]


def test_a_worker_killed_in_a_zoo_over_joblib_costs_nothing_that_was_finished(smoke: Runs, tmp_path: Path) -> None:
    options = ["fleet.shard=range(0,2)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    options += ["budget.lora.steps=100", "budget.checkpoint_every=20"]
    parent = launch(smoke, tmp_path / "first", "train_loras", *options)
    wait_for(lambda: finished(tmp_path / "first", 0) or finished(tmp_path / "first", 1), parent)
    unfinished = 1 if finished(tmp_path / "first", 0) else 0
    os.kill(wait_for(lambda: job(tmp_path / "first", unfinished)["pid"], parent), signal.SIGKILL)
    said = parent.communicate(timeout=1500)[0]
    assert parent.returncode == 1, said
    assert "jobs did not finish" in said, said
    assert f"\n  job {unfinished} " in said[said.index("jobs did not finish") :]
    stamps = {p: p.stat().st_mtime_ns for n in (0, 1) for p in finished(tmp_path / "first", n)}
    assert 1 <= len(stamps) < 6

    again = launch(smoke, tmp_path / "second", "train_loras", *options)
    said = again.communicate(timeout=1500)[0]
    assert again.returncode == 0, said
    both = [p for n in (0, 1) for p in finished(tmp_path / "second", n)]
    assert len(both) == len(set(both)) == 6  # no concept twice, none left out
    assert set(stamps) <= set(both)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()), "trained again"


def test_submitit_goes_on_without_the_killed_and_requeues_the_preempted(smoke: Runs, tmp_path: Path) -> None:
    options = ["hydra/launcher=submitit_local", "budget.base.steps=900000,400", "budget.checkpoint_every=10"]
    parent = launch(smoke, tmp_path, "train_base", *options)

    def behind(number: int) -> int:
        """Batches behind a job's last checkpoint."""
        for artifact in job(tmp_path, number)["artifacts"]:
            path = Path(artifact["path"])
            last = path.parent / ".partial" / path.name / ".checkpoint" / "last.ckpt"
            return torch.load(last, weights_only=True, mmap=True)["batches_done"] if last.exists() else 0
        return 0

    wait_for(lambda: behind(0), parent)
    os.kill(job(tmp_path, 0)["pid"], signal.SIGKILL)
    before = wait_for(lambda: behind(1), parent)
    first = job(tmp_path, 1)["pid"]
    os.kill(first, signal.SIGUSR2)  # what SLURM sends before a job's time is over
    wait_for(lambda: job(tmp_path, 1)["pid"] not in (0, first), parent)
    resumed = wait_for(lambda: behind(1) or finished(tmp_path, 1), parent)
    said = parent.communicate(timeout=1500)[0]
    assert parent.returncode == 1, said
    verdict = said[said.index("error: 1 of 2 jobs did not finish") :]
    assert "budget.base.steps=900000" in verdict
    assert "ended without base" in verdict
    assert "steps=400" not in verdict
    assert finished(tmp_path, 1)
    assert isinstance(resumed, list) or resumed >= before, "began anew"
    logs = "".join(path.read_text() for path in (tmp_path / ".submitit").glob("*/*_log.*"))
    assert "Requeued job" in logs


def test_a_failed_job_of_a_sweep_does_not_lose_the_others(smoke: Runs) -> None:
    said = smoke("build_blocks", "-m", "concepts.unseen_factor=500,2", *QUICK, check=False)
    assert said.returncode == 1
    verdict = said.stderr[said.stderr.index("error: 1 of 2 jobs did not finish") :]
    assert "500 unseen_factor concepts asked for" in verdict
    assert len(finished(smoke.folder / "outputs/build_blocks-sweep", 1)) == 1


@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is not None, reason="the extra ray is here"
)
def test_a_launcher_that_is_not_installed_says_how_to_install_it(smoke: Runs) -> None:
    said = smoke("finetune", "-m", "hydra/launcher=ray", "init=e2gan,mean", check=False)
    assert said.returncode == 1
    assert said.stderr.splitlines()[-1].startswith("error: ")
    assert "pip install -e '.[ray]'" in said.stderr
    assert "Traceback" not in said.stderr

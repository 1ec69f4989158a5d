"""Against a real SLURM of one node: `make test-slurm` starts it, runs this and stops it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.apps import ROOT
from weightgen.artifacts import FILES

pytestmark = pytest.mark.skipif("WEIGHTGEN_TEST_SLURM" not in os.environ, reason="make test-slurm")
SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]


def launch(folder: Path, app: str, *overrides: str, **options: object) -> subprocess.Popen:
    """An app's multirun on the cluster; artifacts, logs and submitit's files in `folder`."""
    own = [f"paths.artifacts={folder}/artifacts", f"hydra.sweep.dir={folder}/sweep", "logger=csv"]
    command = [sys.executable, "-m", f"experiments.{app}", "-m", "experiment=smoke", *SLURM, *own, *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def finish(parent: subprocess.Popen, folder: Path, timeout: int) -> str:
    """What the parent printed; none of its jobs is left."""
    try:
        said = parent.communicate(timeout=timeout)[0]
        settle()
        return said
    finally:
        parent.kill()
        subprocess.run(["scancel", *submitted(folder)], check=False)


def settle(seconds: int = 120) -> None:
    """Until SLURM has cleared up after its jobs: a parent goes by artifacts, and so may end before their processes do."""
    end = time.time() + seconds
    while time.time() < end and subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout.strip():
        time.sleep(1)


def wait_for(what: Callable, parent: subprocess.Popen, seconds: int):
    """What `what` gives once that is true, while the parent lives."""
    end = time.time() + seconds
    while not (found := what()):
        assert parent.poll() is None, parent.communicate()[0]
        assert time.time() < end, "waited in vain"
        time.sleep(0.5)
    return found


def states() -> dict[str, str]:
    """Job or array task -> what SLURM's accounting says became of it."""
    lines = subprocess.run(["sacct", "-nXP", "-o", "JobID,State"], capture_output=True, text=True, check=True)
    return dict(line.split("|") for line in lines.stdout.splitlines())


def test_an_array_of_four_completes_the_zoo(tmp_path: Path) -> None:
    parent = launch(tmp_path, "train_loras", "fleet.shard=range(0,4)")
    said = finish(parent, tmp_path, 1800)
    assert parent.returncode == 0, said
    jobs = submitted(tmp_path)
    assert [job.rpartition("_")[2] for job in jobs] == ["0", "1", "2", "3"]
    assert len({job.rpartition("_")[0] for job in jobs}) == 1, "not one array"
    assert all(states()[job] == "COMPLETED" for job in jobs)
    finished = list((tmp_path / "artifacts/lora").glob(f"*/{FILES}"))
    records = [json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("[0-3]/job.json")]
    promised = [artifact["key"] for record in records for artifact in record["artifacts"]]
    assert sorted(promised) == sorted(path.parent.name for path in finished)
    assert len(promised) == len(set(promised)) == 6


def log_of(folder: Path, job: str) -> str:
    """submitit's log of a job, over all its restarts."""
    return "".join(path.read_text() for path in (folder / "sweep/.submitit" / job).glob("*_log.err"))


def checkpoint(folder: Path) -> int:
    """Batches behind the base's last checkpoint; 0: there is none."""
    paths = list((folder / "artifacts/base/.partial").glob("*/.checkpoint/last.ckpt"))
    return torch.load(paths[0], weights_only=True, mmap=True)["batches_done"] if paths else 0


def submitted(folder: Path) -> list[str]:
    """Ids of an array's tasks in order, or of a job by itself."""
    folders = folder / "sweep/.submitit"
    names = [
        path.name for path in folders.glob("*")
    ]  # and submitit's own files, and the folder of the array as a whole
    jobs = [name for name in names if re.fullmatch(r"\d+_\d+", name)]
    jobs = jobs or [name for name in names if name.isdigit()]
    return sorted(jobs, key=lambda job: int(job.rpartition("_")[2]))


def process(folder: Path, job: int) -> int:
    """The process id of a job that has begun, else 0."""
    record = folder / f"sweep/{job}/job.json"
    return json.loads(record.read_text())["pid"] if record.exists() else 0


def end_soon(job: str) -> None:
    """Bring a running job's time limit forward, by root's right: the scheduler ends it within two minutes."""
    begun = subprocess.run(["squeue", "-hO", "TimeUsed", "-j", job], capture_output=True, text=True, check=True)
    minutes = sum(int(n) * 60**i for i, n in enumerate(reversed(begun.stdout.strip().split(":")[:-1])))
    limit(job, minutes + 1)


def limit(job: str, minutes: int) -> None:
    subprocess.run(["scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}"], check=True)


def array(folder: Path, size: int, parent: subprocess.Popen) -> list[str]:
    """Ids of `size` submitted jobs, given an hour each."""
    jobs = wait_for(lambda: len(submitted(folder)) == size and submitted(folder), parent, 900)
    for job in jobs:
        limit(job, 60)
    return jobs


def pending(pid: int) -> int:
    """Signals that a stopped process has yet to take, as a bit mask; all of them where it is gone (woken, it took them)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return int(re.search(r"ShdPnd:\s*(\w+)", status).group(1), 16)


# Of ten minutes' limit submitit's handler takes any end for a time-out. The tests stretch it at once, for busy machines, and
# shorten it when there is a checkpoint.
TIMED = ["hydra.launcher.timeout_min=10", "hydra.launcher.signal_delay_s=30", "budget.checkpoint_every=10"]


def test_a_job_out_of_time_is_queued_again_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    parent = launch(tmp_path, "train_base", *TIMED, "budget.base.steps=200")
    try:
        (job,) = array(tmp_path, 1, parent)
        wait_for(lambda: checkpoint(tmp_path), parent, 1800)
        first = process(tmp_path, 0)
        os.kill(first, signal.SIGSTOP)  # so that it cannot be done before its time is over
        before = checkpoint(tmp_path)
        end_soon(job)
        wait_for(lambda: pending(first) & 1 << signal.SIGUSR2 - 1, parent, 150)  # the scheduler's word
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGCONT)
        wait_for(lambda: "Requeued job" in log_of(tmp_path, job), parent, 300)
        limit(job, 60)
        after = wait_for(lambda: (now := checkpoint(tmp_path)) != before and now, parent, 1800)
    finally:
        said = finish(parent, tmp_path, 900)
    assert parent.returncode == 0, said
    assert 10 <= before < after < 200, "began anew"
    assert len(list((tmp_path / "artifacts/base").glob(f"*/{FILES}"))) == 1
    assert states()[job] == "COMPLETED"
    assert "timed-out" in log_of(tmp_path, job)


def test_jobs_killed_and_out_of_time_are_named_and_do_not_lose_the_others(tmp_path: Path) -> None:
    steps = "budget.base.steps=900000,900001,12"  # killed -9; out of time; in time
    parent = launch(tmp_path, "train_base", *TIMED, "hydra.launcher.max_num_timeout=0", steps)
    try:
        killed, late, finished = array(tmp_path, 3, parent)
        wait_for(lambda: process(tmp_path, 0) and process(tmp_path, 1), parent, 1800)
        wait_for(lambda: checkpoint(tmp_path), parent, 1800)
        os.kill(process(tmp_path, 0), signal.SIGKILL)
        end_soon(late)
    finally:
        said = finish(parent, tmp_path, 1500)
    assert parent.returncode == 1, said
    verdict = said[said.index("error: 2 of 3 jobs did not finish") :]
    assert re.search(r"job 0 .*steps=900000\b.*ended without base", verdict), said
    assert re.search(r"job 1 .*steps=900001\b.*timed-out too many times", verdict), said
    assert "job 2" not in verdict
    assert (states()[killed], states()[finished]) == ("FAILED", "COMPLETED")
    assert states()[late] in ("COMPLETED", "TIMEOUT")  # the first if it ends in time: whence the judging by artifacts
    assert len(list((tmp_path / "artifacts/base").glob(f"*/{FILES}"))) == 1

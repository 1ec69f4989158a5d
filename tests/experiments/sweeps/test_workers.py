"""Worker processes end with the run that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.apps import ROOT

PARENT = """
import sys, time
from joblib import Parallel, delayed
from experiments.sweeps.jobs import end_with
def work(path):
    import os
    end_with(os.getppid())
    open(path, "w").write(str(os.getpid()))
    time.sleep(120)
Parallel(n_jobs=2, backend="loky")(delayed(work)(f"{sys.argv[1]}/{i}") for i in range(2))
"""


def alive(pid: int) -> bool:
    """A process that exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_of_a_killed_run_end(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script, tmp_path], env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.time() + 90
    while not all((tmp_path / str(i)).exists() and (tmp_path / str(i)).read_text() for i in range(2)):
        assert time.time() < deadline
        time.sleep(0.2)
    workers = [int((tmp_path / str(i)).read_text()) for i in range(2)]
    assert all(map(alive, workers))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.time() + 20
    while any(map(alive, workers)):
        assert time.time() < deadline, "orphans still run"
        time.sleep(0.2)

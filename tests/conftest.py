"""One thread, no network: what passes here passes on a laptop in a train."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports huggingface_hub, which reads it once
os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

import pytest
import torch
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)

_LOCAL = {None, "", "localhost", "::", "::1", "0.0.0.0", socket.gethostname()}
_attempts: list[str] = []


class NetworkAttempt(RuntimeError):
    """Not an OSError: libraries catch those, retry and fall back in silence."""


def _allow(host: object) -> None:
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _LOCAL and not str(host).startswith("127."):
        _attempts.append(str(host))
        raise NetworkAttempt(f"a test tried to reach {host!r}")


def _guard_connect(real):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _allow(address[0])
        return real(self, address)

    return connect


def _guard_lookup(real):
    def getaddrinfo(host, *args, **kwargs):
        _allow(host)
        return real(host, *args, **kwargs)

    return getaddrinfo


_patches = pytest.MonkeyPatch()


def pytest_configure() -> None:
    """Before collection, so that imports are watched as well."""
    for name in ("connect", "connect_ex"):
        _patches.setattr(socket.socket, name, _guard_connect(getattr(socket.socket, name)))
    _patches.setattr(socket, "getaddrinfo", _guard_lookup(socket.getaddrinfo))


def pytest_unconfigure() -> None:
    _patches.undo()


@pytest.fixture(autouse=True)
def _no_network():
    yield
    hosts, _attempts[:] = list(_attempts), []
    if hosts:
        pytest.fail(f"network attempts: {', '.join(hosts)}")


@dataclass(frozen=True)
class Runs:
    """Apps run as a user runs them, as subprocesses in `folder`, on the smoke recipe."""

    folder: Path

    def __call__(self, app: str, *overrides: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """`python -m experiments.<app> experiment=smoke <overrides>`; check: a failure fails the test with its output."""
        paths = [f"paths.artifacts={self.folder}/artifacts", f"paths.reports={self.folder}/reports"]
        paths += [f"logger.folder={self.folder}", f"hydra.run.dir={self.folder}/outputs/{app}"]
        paths += [f"hydra.sweep.dir={self.folder}/outputs/{app}-sweep"]
        flags = [word for word in overrides if word == "-m"]  # argparse wants them before the overrides
        changes = [word for word in overrides if word != "-m"]
        command = [sys.executable, "-m", f"experiments.{app}", *flags, "experiment=smoke", *paths, *changes]
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, **options)
        if check and result.returncode:
            pytest.fail(f"{app} {overrides} exited {result.returncode}:\n{result.stdout}\n{result.stderr}")
        return result


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A finished smoke run, shared by all tests (and test processes): read it, build other keys in it, change nothing."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    runs = Runs(shared / "smoke")
    runs.folder.mkdir(exist_ok=True)
    with FileLock(shared / "smoke.lock"):
        if not (runs.folder / "done").exists():
            runs("evaluate")
            (runs.folder / "done").touch()
    return runs

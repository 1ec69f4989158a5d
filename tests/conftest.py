"""One thread, no network: what passes here passes on a laptop in a train."""

import os
import socket

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports huggingface_hub, which reads it once
os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

import pytest
import torch
from filelock import FileLock

from tests.helpers.apps import Runs
from tests.helpers.browser import launched

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


@pytest.fixture(scope="module")
def browser():
    """A real headless Chromium."""
    yield from launched()

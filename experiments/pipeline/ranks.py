"""Processes that share one stage's training (strategy.ranks): rank 0 is the app itself, the others live for that stage.

So sweeps and launchers start an app as ever, sys.argv is not repeated, and what is upstream is built once, before.
Followers run the stage's builder as rank 0 does, up to the end of its `tracked` block; they log and write nothing.
"""

import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from typing import Any

import torch
import torch.distributed as dist
from hydra.utils import get_class
from lightning_fabric.plugins.environments import ClusterEnvironment
from pytorch_lightning.strategies import DeepSpeedStrategy

from experiments.pipeline.runtime import Runtime
from experiments.sweeps.jobs import deaf_children, end_with
from weightgen.errors import WeightgenError

HOST = "127.0.0.1"
PATIENCE = 10  # seconds for which a failed stage waits to learn whether a follower failed first


class Followed(BaseException):
    """A follower's part of a stage is done. No Exception: builders must not catch it."""


class Environment(ClusterEnvironment):
    """Lightning's view of a process group that is already there, on one machine."""

    creates_processes_externally = True
    main_address = HOST
    main_port = 0  # Lightning opens no group of its own

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return dist.get_world_size()

    def global_rank(self) -> int:
        return dist.get_rank()

    local_rank = global_rank

    def node_rank(self) -> int:
        return 0

    def set_world_size(self, size: int) -> None: ...

    def set_global_rank(self, rank: int) -> None: ...


def rank() -> int:
    """0 in a process that works alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes share this stage's training; 1 in a process that works alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def ranks(runtime: Runtime) -> int:
    """strategy.ranks as a number. Raises WeightgenError, with the remedy, if this machine cannot run the strategy."""
    nodes = [node for node in runtime.parallel.values() if node is not None]
    if any(get_class(node["_target_"]) is DeepSpeedStrategy for node in nodes) and find_spec("deepspeed") is None:
        raise WeightgenError(
            "strategy=deepspeed needs the package deepspeed: pip install -e '.[deepspeed]', or use strategy=fsdp, "
            "which needs nothing more"
        )
    if runtime.gpu and not torch.accelerator.is_available():
        raise WeightgenError(
            "this strategy (strategy=gpu, ddp, fsdp or deepspeed; experiment=gpu sets one) needs a GPU that torch can use, "
            "and there is none: add strategy=cpu, or strategy=ddp_cpu for two processes"
        )
    here = torch.accelerator.device_count() if runtime.gpu else os.cpu_count()
    size = here if runtime.ranks == "auto" else runtime.ranks
    if runtime.gpu and size > here:
        raise WeightgenError(f"strategy.ranks={size}, but torch sees {here} GPUs: use strategy.ranks=auto")
    if size > 1 and not nodes:
        raise WeightgenError(
            f"strategy.ranks={size} needs a strategy for several processes: strategy=ddp_cpu, ddp, fsdp or deepspeed"
        )
    return size


@contextmanager
def group(size: int, gpu: bool, follow: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Inside, this process is rank 0 of `size`; each other one runs follow(*arguments), all of which must pickle.

    Raises WeightgenError if a follower dies.
    """
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # the system chooses a free port
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        # we are in a worker of joblib, whose start method children of the standard library do not know
        multiprocessing.set_start_method("spawn", force=True)
    context = multiprocessing.get_context("spawn")  # fork does not survive autograd's threads
    followers = [
        context.Process(
            target=_follow,
            args=(os.getpid(), store.port, i, size, gpu, follow, arguments),
            name=f"process {i} of {size}",
            daemon=True,
        )
        for i in range(1, size)
    ]
    try:
        with deaf_children():
            for follower in followers:
                follower.start()
        _meet(store, followers)
        _join(store, 0, size, gpu)
        yield
        for follower in followers:
            follower.join()
    except Exception as error:
        if not isinstance(error, WeightgenError) and (dead := _dead(followers)):
            raise WeightgenError(dead) from error
        raise
    finally:
        for follower in followers:
            if follower.is_alive():
                follower.kill()
        if dist.is_initialized():
            dist.destroy_process_group()
    if dead := _dead(followers):
        raise WeightgenError(dead)


def _meet(store: dist.TCPStore, followers: list[BaseProcess]) -> None:
    """Wait until every follower has started: a collective would wait for a dead one for half an hour."""
    while not store.check([f"rank {i}" for i in range(1, len(followers) + 1)]):
        if any(follower.exitcode for follower in followers):
            raise WeightgenError(_dead(followers))
        time.sleep(0.05)


def _join(store: dist.TCPStore, rank: int, size: int, gpu: bool) -> None:
    if gpu:
        torch.accelerator.set_device_index(rank)
    # gloo finds its network by the machine's name, which need not resolve; followers are on this machine
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(hours=2))


def _dead(followers: list[BaseProcess]) -> str | None:
    """What to tell about followers that failed."""
    deadline = time.monotonic() + PATIENCE
    for follower in followers:
        follower.join(max(0.0, deadline - time.monotonic()))
        if follower.exitcode:
            how = f"signal {-follower.exitcode}" if follower.exitcode < 0 else f"code {follower.exitcode}"
            return (
                f"{follower.name} ended with {how}: run the same command again, training goes on from its last "
                "checkpoint; if memory ran out, use strategy.ranks=1 or a larger strategy.accumulate"
            )
    return None


def _follow(
    parent: int, port: int, rank: int, size: int, gpu: bool, follow: Callable[..., Any], arguments: tuple
) -> None:
    """What a follower's process runs."""
    end_with(parent)
    store = dist.TCPStore(HOST, port, is_master=False)
    store.set(f"rank {rank}", "here")
    try:
        _join(store, rank, size, gpu)
        follow(*arguments)
    except Followed:
        pass
    except WeightgenError:  # rank 0 meets it as well, and says so
        raise SystemExit(1) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()

"""Paired measurements: baseline, ours, baseline, ours, ..., and a ratio within each pair."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from experiments.benchmarks.memory import peak_mb
from weightgen.errors import WeightgenError

COLUMNS = ("name", "device", "baseline", "ours", "ratio_median", "ratio_min", "ratio_max", "peak_mb")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Stopwatch:
    """A clock that waits for the device's queued kernels before it is read.

    kind: "wall", or "cpu" (CPU time of this process: what one thread would take on an idle core, so that other load
    on the machine does not count). Raises WeightgenError where CPU time is not the time taken.
    """

    device: torch.device
    kind: str = "wall"

    def __post_init__(self) -> None:
        if self.kind not in CLOCKS:
            raise WeightgenError(f"bench.clock={self.kind} is unknown: use one of {', '.join(CLOCKS)}")
        if self.kind == "cpu" and (self.device.type != "cpu" or torch.get_num_threads() > 1):
            raise WeightgenError("bench.clock=cpu wants strategy=cpu strategy.threads=1: use bench.clock=wall")

    def now(self) -> float:
        """Seconds of the clock once everything queued is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return CLOCKS[self.kind]()

    def __call__(self, work: Callable[[], Any]) -> float:
        """Seconds that work() takes."""
        start = self.now()
        work()
        return self.now() - start


@dataclass(frozen=True)
class Side:
    """run() -> seconds that `work` units of work took (concepts, steps, blocks, ...)."""

    run: Callable[[], float]
    work: float = 1.0

    def __call__(self) -> float:
        """Seconds per unit of work."""
        return self.run() / self.work


@dataclass(frozen=True)
class Contest:
    """A row to be. unit: "s", "ms" or either per something ("ms/step"), or a rate per hour ("concepts/h").

    target: the ratio to reach, None without one. memory: measures ours instead of `peak_mb`, None where it cannot.
    optional: a failure leaves the row's cells empty, and is told (a compiler that is not there, say).
    """

    name: str
    unit: str
    baseline: Side
    ours: Side
    target: float | None = None
    memory: Callable[[], float | None] | None = None
    optional: bool = False

    @property
    def title(self) -> str:
        return f"{self.name} [{self.unit}]"

    def shown(self, seconds: float) -> float:
        """Seconds per unit of work, in `unit`."""
        if self.unit.endswith("/h"):
            return 3600 / seconds
        return 1000 * seconds if self.unit.startswith("ms") else seconds


class Result(NamedTuple):
    """row: COLUMNS -> cells, None where unknown; note: why cells are empty."""

    row: dict[str, Any]
    target: float | None = None
    note: str = ""


def measure(contest: Contest, pairs: int, device: torch.device, device_name: str) -> Result:
    """The row of a contest after a warm-up of both sides, in which ours' memory is measured, and `pairs` pairs.

    baseline and ours are medians in the contest's unit. A ratio is how many times better ours is within a pair, time
    per unit of work of the baseline over that of ours, whatever the unit: above 1 is a win.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"name": contest.title, "device": device_name}
    try:
        contest.baseline()
        row["peak_mb"] = contest.memory() if contest.memory else peak_mb(contest.ours, device)
        times = [(contest.baseline(), contest.ours()) for _ in range(pairs)]
    except Exception as error:
        if not contest.optional:
            raise
        reason = (str(error).strip().splitlines() or [""])[0]
        return Result(row | {"peak_mb": None}, contest.target, f"{type(error).__name__}: {reason}")
    baseline, ours = zip(*times, strict=True)
    ratios = [theirs / own for theirs, own in times]
    row |= {
        "baseline": contest.shown(statistics.median(baseline)),
        "ours": contest.shown(statistics.median(ours)),
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }
    return Result(row, contest.target)

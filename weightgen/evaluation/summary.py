"""summary.csv: one row per (base, split, method), from the rows of results.csv."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightgen.errors import DataError
from weightgen.evaluation.bootstrap import Run, draw_weights, interval
from weightgen.evaluation.methods import CEILING, FROM_SCRATCH, NO_BASE, ONE_BASE, START, ordered
from weightgen.evaluation.results import ResultRow, write_table

SUMMARY_COLUMNS = (
    "base",
    "split",
    "method",
    "concepts",
    "seeds",
    "fid_start",
    "fid_end",
    "l1_start",
    "l1_end",
    "gap_closed",
    "gap_closed_low",
    "gap_closed_high",
    "gap_closed_fid",
    "seconds",
    "seconds_to_target",
    "speedup",
    "never_reached",
)
# A perfect FID of 0 has no logarithm.
FID_FLOOR = 1e-12


@dataclass(frozen=True)
class Curve:
    """One run: the evaluations of one (base, split, method, concept, seed), by step."""

    rows: tuple[ResultRow, ...]

    @property
    def start(self) -> ResultRow:
        """The evaluation at step 0 (the first there is, where a method has none)."""
        return self.rows[0]

    @property
    def end(self) -> ResultRow:
        """The evaluation at the last step."""
        return self.rows[-1]

    def seconds_to(self, fid: float) -> float:
        """train_seconds of the first evaluation with FID <= fid; inf where it is never reached."""
        return next((row["train_seconds"] for row in self.rows if row["fid"] <= fid), math.inf)


Runs = dict[Run, Curve]
Group = tuple[str, str]  # (base, split)


def collect(rows: Iterable[ResultRow]) -> dict[Group, dict[str, Runs]]:
    """rows -> {(base, split): {method: {(concept, seed): Curve}}}, groups sorted, methods in canonical order.

    Methods without a base ("none"), and those that always start from one and the same base (text_base), appear under
    every base that others were run on, to be compared there.
    Raises DataError where feature sets are mixed, or two rows describe the same evaluation.
    """
    rows = list(rows)
    if len(sets := sorted({row["feature_set"] for row in rows})) > 1:
        raise DataError(f"scores of different features do not compare: {sets}; summarise one set at a time")
    own = [row for row in rows if row["method"] not in ONE_BASE and row["base"] != NO_BASE]
    bases = sorted({row["base"] for row in own or rows})
    runs: dict[tuple, dict[int, ResultRow]] = defaultdict(dict)
    for row in rows:
        shared = row["base"] == NO_BASE or row["method"] in ONE_BASE
        for base in bases if shared else [row["base"]]:
            key = (base, row["split"], row["method"], row["concept"], row["seed"])
            if row["step"] in runs[key]:
                raise DataError(f"two results for {key} at step {row['step']}: summarise one experiment at a time")
            runs[key][row["step"]] = row
    groups: dict[Group, dict[str, Runs]] = defaultdict(lambda: defaultdict(dict))
    for (base, split, method, concept, seed), steps in sorted(runs.items()):
        curve = Curve(tuple(row for _, row in sorted(steps.items())))
        groups[base, split][method][concept, seed] = curve
    return {group: {name: methods[name] for name in ordered(methods)} for group, methods in sorted(groups.items())}


def summarize(rows: Iterable[ResultRow], bootstrap: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """-> dicts with SUMMARY_COLUMNS; a figure that lacks a rival it is defined by is None.

    fid_*: geometric means over (concept, seed); l1_*, seconds (at the last evaluation): arithmetic means.
    gap_closed: at step 0 on L1, see `gap_closed`; *_low, *_high: its 95 % interval.
    seconds_to_target, speedup, never_reached: see `race`.
    """
    table = []
    for (base, split), methods in collect(rows).items():
        for method, runs in methods.items():
            start, end = [run.start for run in runs.values()], [run.end for run in runs.values()]
            closed, low, high = gap_closed(methods, method, lambda row: row["l1"], bootstrap, seed)
            closed_fid, _, _ = gap_closed(methods, method, log_fid, 0, seed)
            row = {
                "base": base,
                "split": split,
                "method": method,
                "concepts": len({concept for concept, _ in runs}),
                "seeds": len({seed for _, seed in runs}),
                "fid_start": geometric_mean(row["fid"] for row in start),
                "fid_end": geometric_mean(row["fid"] for row in end),
                "l1_start": statistics.fmean(row["l1"] for row in start),
                "l1_end": statistics.fmean(row["l1"] for row in end),
                "gap_closed": closed,
                "gap_closed_low": low,
                "gap_closed_high": high,
                "gap_closed_fid": closed_fid,
                "seconds": statistics.fmean(row["train_seconds"] for row in end),
                **race(runs, methods.get(FROM_SCRATCH, {})),
            }
            table.append(row)
    return table


def gap_closed(
    methods: Mapping[str, Runs], method: str, measure, bootstrap: int, seed: int
) -> tuple[float | None, float | None, float | None]:
    """(value, low, high) of sum m(zero) - m(method) over sum m(zero) - m(trained), at step 0.

    zero = e2gan, the base with LoRA at zero, trained = the concept's own trained LoRA, both of the same
    base, concept and seed; sums over the (concept, seed) that all three have, so that concepts with little
    to gain do not dominate as they would in a mean of ratios. measure: row -> float, lower is better.
    None where a rival is missing or the trained LoRAs gain nothing over zero; the interval also where some
    resample gains nothing.
    """
    zero, trained = methods.get(START, {}), methods.get(CEILING, {})
    runs = [run for run in methods[method] if run in zero and run in trained]
    if not runs:
        return None, None, None
    m_zero, m_method, m_trained = (
        np.array([measure(curves[run].start) for run in runs]) for curves in (zero, methods[method], trained)
    )
    gained, possible = m_zero - m_method, m_zero - m_trained
    if not possible.sum() > 0:
        return None, None, None
    low = high = None
    if bootstrap:
        weights = draw_weights(runs, bootstrap, seed)
        room = weights @ possible
        ratios = np.divide(weights @ gained, room, out=np.full(bootstrap, np.nan), where=room > 0)
        low, high = interval(ratios)
    return float(gained.sum() / possible.sum()), low, high


def race(runs: Runs, scratch: Runs) -> dict[str, float | int | None]:
    """Time to quality, against pix2pix: the target is its last FID for the same concept and seed.

    seconds_to_target: median over (concept, seed) of train_seconds at the first evaluation at or below the
    target, a run that never gets there counting as infinite (None where the median is).
    speedup: median of pix2pix's own seconds to that FID over the method's, a run that never gets there
    counting as 0 (None where the median is), one that starts there as infinite.
    never_reached: how many runs never get there. All None without pix2pix.
    """
    ours, speedups = [], []
    for run, curve in runs.items():
        if run not in scratch:
            continue
        target = scratch[run].end["fid"]
        seconds, theirs = curve.seconds_to(target), scratch[run].seconds_to(target)
        ours.append(seconds)
        speedups.append(theirs / seconds if seconds > 0 else math.inf)
    if not ours:
        return {"seconds_to_target": None, "speedup": None, "never_reached": None}
    median = statistics.median(ours)
    # Of an even number, both middle runs must get there: as for the seconds, so for the speedup.
    reached = math.isfinite(median)
    return {
        "seconds_to_target": median if reached else None,
        "speedup": statistics.median(speedups) if reached else None,
        "never_reached": sum(math.isinf(seconds) for seconds in ours),
    }


def geometric_mean(values: Iterable[float]) -> float:
    """FID spans decades between concepts: its arithmetic mean would be the worst concept's."""
    return math.exp(statistics.fmean(math.log(max(value, FID_FLOOR)) for value in values))


def log_fid(row: Mapping[str, Any]) -> float:
    """Natural logarithm of the FID."""
    return math.log(max(row["fid"], FID_FLOOR))


def write_summary(path: str | Path, summary: Sequence[Mapping[str, Any]]) -> None:
    """summary.csv with SUMMARY_COLUMNS, atomically; None becomes an empty cell."""
    write_table(path, SUMMARY_COLUMNS, summary)

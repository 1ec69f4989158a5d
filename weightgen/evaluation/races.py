"""races.csv: seconds to another method's final FID, as a speed-up with its interval."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from weightgen.evaluation.bootstrap import draw_weights
from weightgen.evaluation.methods import FROM_SCRATCH, START
from weightgen.evaluation.results import ResultRow, write_table
from weightgen.evaluation.summary import Runs, collect, race

RACE_COLUMNS = (
    "base",
    "split",
    "target",
    "method",
    "runs",
    "seconds_to_target",
    "speedup",
    "speedup_low",
    "speedup_high",
    "never_reached",
)


def races(
    rows: Iterable[ResultRow], targets: tuple[str, ...] = (FROM_SCRATCH, START), bootstrap: int = 2000, seed: int = 0
) -> list[dict[str, Any]]:
    """-> dicts with RACE_COLUMNS: every method against the last FID of each target method, same concept and seed.

    speedup: median of the target's own seconds over the method's, a run that never gets there counting as 0; its
    95 % interval resamples concepts, then seeds. A median of 0 is reported as 0: most runs never get there.
    """
    table = []
    for (base, split), methods in collect(rows).items():
        for target in targets:
            if target not in methods:
                continue
            for method, runs in methods.items():
                common = {run: curve for run, curve in runs.items() if run in methods[target]}
                if not common:
                    continue
                speedups = _speedups(common, methods[target])
                low, high = _median_interval(list(common), speedups, bootstrap, seed)
                figures = race(common, methods[target])
                table.append(
                    {
                        "base": base,
                        "split": split,
                        "target": target,
                        "method": method,
                        "runs": len(common),
                        "seconds_to_target": figures["seconds_to_target"],
                        "speedup": statistics.median(speedups),
                        "speedup_low": low,
                        "speedup_high": high,
                        "never_reached": figures["never_reached"],
                    }
                )
    return table


def _speedups(runs: Runs, targets: Runs) -> list[float]:
    result = []
    for run, curve in runs.items():
        fid = targets[run].end["fid"]
        seconds, theirs = curve.seconds_to(fid), targets[run].seconds_to(fid)
        result.append(theirs / seconds if seconds > 0 else float("inf"))
    return result


def _median_interval(runs: list, values: list[float], bootstrap: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the weighted median; values may be inf."""
    order = np.argsort(values)
    weights = draw_weights(runs, bootstrap, seed)[:, order]
    # The median of a resample: the first value at which half of its weight is reached.
    half = weights.sum(1, keepdims=True) / 2
    medians = np.asarray(values)[order][(weights.cumsum(1) >= half).argmax(1)]
    medians.sort()
    low, high = int(0.025 * bootstrap), min(int(np.ceil(0.975 * bootstrap)), bootstrap - 1)
    return float(medians[low]), float(medians[high])


def write_races(path: str | Path, table: Iterable[dict[str, Any]]) -> None:
    """races.csv with RACE_COLUMNS, atomically."""
    write_table(path, RACE_COLUMNS, list(table))

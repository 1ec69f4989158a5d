"""wins.csv: ours against each rival, concept by concept, with what chance alone would explain."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from weightgen.evaluation.bootstrap import Run, draw_weights, interval
from weightgen.evaluation.methods import OURS
from weightgen.evaluation.results import ResultRow, write_table
from weightgen.evaluation.summary import Curve, Runs, collect, log_fid

WIN_COLUMNS = (
    "base",
    "split",
    "method",
    "rival",
    "point",
    "metric",
    "concepts",
    "pairs",
    "win_rate",
    "win_rate_low",
    "win_rate_high",
    "ratio",
    "ratio_low",
    "ratio_high",
    "p_value",
)


def _same_steps(ours: Curve, rival: Curve) -> tuple[ResultRow, ResultRow]:
    """The rival as it stood after no more updates than we spent in all."""
    within = [row for row in rival.rows if row["step"] <= ours.end["step"]]
    return ours.end, (within or rival.rows[:1])[-1]


POINTS: dict[str, Callable[[Curve, Curve], tuple[ResultRow, ResultRow]]] = {
    "start": lambda ours, rival: (ours.start, rival.start),
    "same_steps": _same_steps,
    "end": lambda ours, rival: (ours.end, rival.end),
}
MEASURES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "fid": log_fid,
    "l1": lambda row: float(np.log(max(row["l1"], 1e-12))),
}


def wins(rows: Iterable[ResultRow], method: str = OURS, bootstrap: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """-> dicts with WIN_COLUMNS: `method` against every rival, per base, split, point and metric.

    Pairs share base, concept and seed. point: "start" (step 0), "end" (each at its own last step, whatever
    it spent), "same_steps" (ours at its end, the rival with no more updates than that).
    win_rate: share of pairs where ours is lower, ties counting half, with a 95 % two-level bootstrap.
    ratio: geometric mean of ours over the rival's, below 1 where ours is better, with the same bootstrap.
    p_value: two-sided sign test over concepts (each with the mean log ratio of its seeds, ties left out);
    seeds of one concept are not independent trials. With 5 concepts it cannot fall below 0.0625.
    """
    table = []
    for (base, split), methods in collect(rows).items():
        for rival in [name for name in methods if name != method and method in methods]:
            for point, choose in POINTS.items():
                for metric, measure in MEASURES.items():
                    key = {"base": base, "split": split, "method": method, "rival": rival}
                    logs = _log_ratios(methods[method], methods[rival], choose, measure)
                    if logs:
                        figures = _figures(logs, bootstrap, seed)
                        table.append({**key, "point": point, "metric": metric, **figures})
    return table


def _log_ratios(ours: Runs, theirs: Runs, choose, measure) -> dict[Run, float]:
    """{(concept, seed): log(ours / rival's)} where both ran."""
    pairs = {run: choose(curve, theirs[run]) for run, curve in ours.items() if run in theirs}
    return {run: measure(mine) - measure(other) for run, (mine, other) in pairs.items()}


def _figures(logs: Mapping[Run, float], bootstrap: int, seed: int) -> dict[str, Any]:
    values = np.array(list(logs.values()))
    won = (values < 0) + 0.5 * (values == 0)
    weights = draw_weights(list(logs), bootstrap, seed)
    total = weights.sum(axis=1)
    win_low, win_high = interval(weights @ won / total)
    low, high = interval(np.exp(weights @ values / total))
    by_concept = defaultdict(list)
    for (concept, _), value in logs.items():
        by_concept[concept].append(value)
    means = [statistics.fmean(group) for group in by_concept.values()]
    better, worse = sum(mean < 0 for mean in means), sum(mean > 0 for mean in means)
    return {
        "concepts": len(by_concept),
        "pairs": len(values),
        "win_rate": float(won.mean()),
        "win_rate_low": win_low,
        "win_rate_high": win_high,
        "ratio": float(np.exp(values.mean())),
        "ratio_low": low,
        "ratio_high": high,
        "p_value": float(binomtest(better, better + worse).pvalue) if better + worse else 1.0,
    }


def write_wins(path: str | Path, table: Sequence[Mapping[str, Any]]) -> None:
    """wins.csv with WIN_COLUMNS, atomically."""
    write_table(path, WIN_COLUMNS, table)

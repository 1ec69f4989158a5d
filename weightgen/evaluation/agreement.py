"""Do the metrics agree on which method is better?"""

from itertools import permutations

import numpy as np
from scipy.stats import spearmanr

from weightgen.evaluation.curves import METRICS, Groups
from weightgen.evaluation.results import Table, columns

AGREEMENT_COLUMNS = (*columns("base split point metric runs"), *METRICS, "others")


def agreement(groups: Groups) -> Table:
    """-> dicts with AGREEMENT_COLUMNS: how alike two metrics rank the methods of one concept and seed, at the start and at
    the end, as the mean of Spearman's correlation over `runs`; others: its mean over the other metrics.

    None where a metric was not measured, or tells no methods apart. Runs of fewer than three methods do not count.
    """
    table: Table = []
    for (base, split), methods in groups.items():
        runs = sorted({run for runs in methods.values() for run in runs})
        for point in ("start", "end"):
            rows = [[getattr(of[run], point) for of in methods.values() if run in of] for run in runs]
            rows = [row for row in rows if len(row) > 2]
            values = {name: [[row[name] for row in each] for each in rows] for name in METRICS}
            found = {(a, b): _mean_correlation(values[a], values[b]) for a, b in permutations(METRICS, 2)}
            for metric in METRICS:
                beside = {name: found.get((metric, name)) for name in METRICS}
                known = [value for value in beside.values() if value is not None]
                head = {"base": base, "split": split, "point": point, "metric": metric, "runs": len(rows)}
                table.append(head | beside | {"others": float(np.mean(known)) if known else None})
    return table


def _mean_correlation(first: list[list[float]], second: list[list[float]]) -> float | None:
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if np.isfinite([a, b]).all()]
    known = [(a, b) for a, b in pairs if len(set(a)) > 1 and len(set(b)) > 1]
    return float(np.mean([spearmanr(a, b).statistic for a, b in known])) if known else None

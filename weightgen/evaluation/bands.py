"""Quality against training seconds with its interval: what a chart draws of many runs."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from weightgen.evaluation.bootstrap import draw_weights, interval
from weightgen.evaluation.summary import FID_FLOOR, Runs

METRICS = ("fid", "l1", "kid", "perceptual")
GEOMETRIC = frozenset({"fid"})  # spans decades between concepts; see summary.geometric_mean


def band(runs: Runs, metric: str, bootstrap: int = 1000, seed: int = 0) -> list[dict[str, Any]]:
    """-> [{"step", "seconds", "value", "low", "high"}] at each step that all runs evaluated.

    seconds: mean train_seconds; value: mean of `metric` over (concept, seed), geometric for FID, arithmetic for the
    others; low, high: its 95 % two-level bootstrap (concepts, then seeds), one resample for the whole curve. Empty
    where some run did not measure the metric.
    """
    by_step = [{row["step"]: row for row in curve.rows} for curve in runs.values()]
    steps = sorted(set.intersection(*(set(rows) for rows in by_step)))
    values = np.array([[rows[step][metric] for step in steps] for rows in by_step], dtype=float)  # (runs, S)
    if not np.isfinite(values).all():
        return []
    geometric = metric in GEOMETRIC
    values = np.log(np.maximum(values, FID_FLOOR)) if geometric else values
    weights = draw_weights(list(runs), bootstrap, seed)
    resampled = weights @ values / weights.sum(axis=1, keepdims=True)
    back = math.exp if geometric else float
    points = []
    for i, step in enumerate(steps):
        low, high = interval(resampled[:, i])
        points.append(
            {
                "step": step,
                "seconds": float(np.mean([rows[step]["train_seconds"] for rows in by_step])),
                "value": back(values[:, i].mean()),
                "low": back(low),
                "high": back(high),
            }
        )
    return points


def per_concept(methods: Mapping[str, Runs]) -> list[dict[str, Any]]:
    """-> a dict per (concept, method): prompt, runs (how many seeds), and each metric at the first and the last
    evaluation (`fid_start`, `fid_end`, ...; FID's mean over seeds geometric, None where not measured), `seconds`."""
    table = []
    for method, runs in methods.items():
        for concept in dict.fromkeys(concept for concept, _ in runs):
            curves = [curve for (name, _), curve in runs.items() if name == concept]
            row = {
                "concept": concept,
                "method": method,
                "prompt": curves[0].start["prompt"],
                "runs": len(curves),
                "seconds": float(np.mean([curve.end["train_seconds"] for curve in curves])),
            }
            for metric in METRICS:
                row[f"{metric}_start"] = _mean([curve.start[metric] for curve in curves], metric)
                row[f"{metric}_end"] = _mean([curve.end[metric] for curve in curves], metric)
            table.append(row)
    return table


def _mean(values: list[float], metric: str) -> float | None:
    if not all(map(math.isfinite, values)):
        return None
    if metric in GEOMETRIC:
        return math.exp(float(np.mean(np.log(np.maximum(values, FID_FLOOR)))))
    return float(np.mean(values))

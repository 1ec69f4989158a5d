"""Runs as curves of quality against training seconds: gathered from rows, averaged, with bootstrap intervals."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from weightgen.errors import DataError
from weightgen.evaluation.methods import NO_BASE, ONE_BASE, ordered
from weightgen.evaluation.results import ResultRow
from weightgen.rng import numpy_stream

METRICS = ("fid", "kid", "mmd", "perceptual", "l1")
GEOMETRIC = frozenset({"fid"})  # spans decades between concepts: its arithmetic mean would be the worst concept's
INSTANT = 1e-3  # seconds: no start is told apart from one that takes less
FID_FLOOR = 1e-12  # a perfect FID of 0 has no logarithm
NEVER = math.inf  # seconds of a run that does not reach its target: it is censored


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
        """train_seconds at which the curve first has FID `fid`, at least INSTANT; NEVER where no evaluation is as low.

        Between two evaluations the logarithm of FID is linear in that of seconds.
        """
        seconds = [max(row["train_seconds"], INSTANT) for row in self.rows]
        for i, row in enumerate(self.rows):
            if row["fid"] <= fid:
                if i == 0:
                    return seconds[0]
                above, below = log_fid(self.rows[i - 1]), log_fid(row)
                share = (above - log_fid({"fid": fid})) / (above - below)
                return seconds[i - 1] * (seconds[i] / seconds[i - 1]) ** share
        return NEVER


class Point(NamedTuple):
    """A mean over runs at one step: seconds of training, the mean's value and its 95 % interval."""

    step: int
    seconds: float
    value: float
    low: float
    high: float


Run = tuple[str, int]  # (concept, seed)
Runs = dict[Run, Curve]
Group = tuple[str, str]  # (base, split)
Groups = dict[Group, dict[str, Runs]]  # method -> its runs, of each base and split


def collect(rows: Iterable[ResultRow]) -> Groups:
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


def log_fid(row: Mapping[str, Any]) -> float:
    """Natural logarithm of the FID."""
    return math.log(max(row["fid"], FID_FLOOR))


def mean(values: Iterable[float], metric: str) -> float | None:
    """Geometric for FID, arithmetic for other metrics; None where some value was not measured."""
    values = np.array(list(values), dtype=float)
    if not np.isfinite(values).all():
        return None
    if metric in GEOMETRIC:
        return math.exp(np.log(np.maximum(values, FID_FLOOR)).mean())
    return float(values.mean())


def band(runs: Runs, metric: str, bootstrap: int = 1000, seed: int = 0) -> list[Point]:
    """The mean of `metric` over (concept, seed) at each step that all runs evaluated, FID's geometric.

    seconds: mean train_seconds; low, high: 95 % two-level bootstrap (concepts, then seeds), one resample for the
    whole curve. Empty where some run did not measure the metric.
    """
    by_step = [{row["step"]: row for row in curve.rows} for curve in runs.values()]
    steps = sorted(set.intersection(*(set(rows) for rows in by_step)))
    values = np.array([[rows[step][metric] for step in steps] for rows in by_step], dtype=float)  # (runs, S)
    if not np.isfinite(values).all():
        return []
    seconds = [float(np.mean([rows[step]["train_seconds"] for rows in by_step])) for step in steps]
    geometric = metric in GEOMETRIC
    values = np.log(np.maximum(values, FID_FLOOR)) if geometric else values
    weights = draw_weights(list(runs), bootstrap, seed)
    resampled = weights @ values / weights.sum(axis=1, keepdims=True)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    columns = (values.mean(axis=0), low, high)
    means = [[float(v) for v in (np.exp(column) if geometric else column)] for column in columns]
    return [Point(*point) for point in zip(steps, seconds, *means, strict=True)]


def draw_weights(runs: Sequence[Run], draws: int, seed: int) -> np.ndarray:
    """Two-level bootstrap, concepts then seeds, with replacement: how often each run is drawn, int (draws, len(runs)).

    Seeds of one concept share its targets, so they are not independent observations: resampling runs
    alone would claim too narrow an interval. Weights serve any statistic of sums, and using them for two
    methods at once makes the comparison paired. The same runs and seed give the same weights.
    """
    concepts = sorted({concept for concept, _ in runs})
    members = [[i for i, (name, _) in enumerate(runs) if name == concept] for concept in concepts]
    counts = np.array([len(member) for member in members])
    # table[c, j]: position of concept c's run j, padded where c has fewer seeds than the most.
    table = np.array([member + [member[0]] * (counts.max() - len(member)) for member in members])
    rng = numpy_stream(seed, "evaluation/bootstrap")
    chosen = rng.integers(len(concepts), size=(draws, len(concepts)))
    slots = np.floor(rng.random((*chosen.shape, counts.max())) * counts[chosen][..., None]).astype(int)
    used = np.arange(counts.max()) < counts[chosen][..., None]
    positions = table[chosen[..., None], slots]
    weights = np.zeros((draws, len(runs)), dtype=int)
    rows = np.broadcast_to(np.arange(draws)[:, None, None], positions.shape)
    np.add.at(weights, (rows[used], positions[used]), 1)
    return weights


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | tuple[None, None]:
    """Percentile interval of bootstrap values; (None, None) where a resample had none (nan)."""
    if values.size == 0 or not np.isfinite(values).all():
        return None, None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

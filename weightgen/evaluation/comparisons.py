"""What the curves of many methods say: summary, races, wins, a row per concept, and the gap each start closes."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from weightgen.evaluation.curves import METRICS, NEVER, Curve, Groups, Run, Runs, draw_weights, interval, log_fid, mean
from weightgen.evaluation.methods import FLOOR, FROM_SCRATCH, OURS, OWN, START
from weightgen.evaluation.results import ResultRow, Table, columns

SUMMARY_COLUMNS = columns(
    "base split method concepts seeds fid_start fid_end kid_start kid_end mmd_start mmd_end perceptual_start "
    "perceptual_end l1_start l1_end gap_closed gap_closed_low gap_closed_high gap_closed_fid seconds seconds_to_target "
    "speedup censored collapsed"
)
RACE_COLUMNS = columns("base split target method runs seconds_to_target speedup speedup_low speedup_high censored")
WIN_COLUMNS = columns(
    "base split method rival point metric concepts pairs win_rate win_rate_low win_rate_high ratio ratio_low "
    "ratio_high p_value"
)
Measure = Callable[[Mapping[str, Any]], float]  # of a result row, lower is better
Methods = Mapping[str, Runs]  # of one base and split
Estimate = tuple[float | None, float | None, float | None]  # value, low, high


def summarize(groups: Groups, bootstrap: int = 2000, seed: int = 0) -> Table:
    """-> dicts with SUMMARY_COLUMNS; a figure that lacks a rival it is defined by is None.

    fid_*: geometric means over (concept, seed); other metrics, seconds (at the last evaluation): arithmetic means, None
    where some run did not measure it.
    gap_closed: at step 0 on L1, see `gap_closed`; *_low, *_high: its 95 % interval.
    seconds_to_target, speedup, censored: see `race`, against pix2pix. collapsed: how many runs end drawing nothing.
    """
    table = []
    for (base, split), methods in groups.items():
        for method, runs in methods.items():
            rows = {"start": [run.start for run in runs.values()], "end": [run.end for run in runs.values()]}
            closed, low, high = gap_closed(methods, method, lambda row: row["l1"], bootstrap, seed)
            figures = race({} if method == FLOOR else runs, methods.get(FROM_SCRATCH, {}), bootstrap=0)
            row = {"base": base, "split": split, "method": method}
            row["concepts"], row["seeds"] = (len(set(names)) for names in zip(*runs, strict=True))
            for metric in METRICS:
                for when, scores in rows.items():
                    row[f"{metric}_{when}"] = mean((score[metric] for score in scores), metric)
            row |= {"gap_closed": closed, "gap_closed_low": low, "gap_closed_high": high}
            row["gap_closed_fid"] = gap_closed(methods, method, log_fid, bootstrap=0)[0]
            row["seconds"] = statistics.fmean(score["train_seconds"] for score in rows["end"])
            row |= {name: figures[name] for name in ("seconds_to_target", "speedup", "censored")}
            row["collapsed"] = sum(score.get("collapsed") == 1 for score in rows["end"])
            table.append(row)
    return table


def gap_closed(methods: Methods, method: str, measure: Measure, bootstrap: int = 2000, seed: int = 0) -> Estimate:
    """(value, low, high) of sum m(zero) - m(method) over sum m(zero) - m(trained), at step 0.

    zero = e2gan, the base with LoRA at zero, trained = the concept's own trained LoRA, both of the same
    base, concept and seed; sums over the (concept, seed) that all three have, so that concepts with little
    to gain do not dominate as they would in a mean of ratios.
    None where a rival is missing or the trained LoRAs gain nothing over zero; the interval also where some
    resample gains nothing.
    """
    runs = [run for run in methods[method] if _known(methods, run)]
    return _estimate(runs, bootstrap, seed, lambda weights: _closed(methods, method, runs, measure, weights))


def gap_difference(
    first: tuple[Methods, str], second: tuple[Methods, str], bootstrap: int = 2000, seed: int = 0
) -> Estimate:
    """(value, low, high) of the gap that the first (methods, method) closes minus the second's, on L1.

    Each variant has its own zero and trained LoRA. Paired: both take the same resamples of concepts and seeds, so
    what makes a concept hard for both cancels. None where either has no gap to close (see gap_closed).
    """
    known = [{run for run in methods[method] if _known(methods, run)} for methods, method in (first, second)]
    runs = sorted(known[0] & known[1])

    def difference(weights: np.ndarray) -> np.ndarray:
        one, other = (_closed(*variant, runs, lambda row: row["l1"], weights) for variant in (first, second))
        return one - other

    return _estimate(runs, bootstrap, seed, difference)


def _known(methods: Methods, run: Run) -> bool:
    return run in methods.get(START, {}) and run in methods.get(OWN, {})


def _closed(methods: Methods, method: str, runs: Sequence[Run], measure: Measure, weights: np.ndarray) -> np.ndarray:
    """weights: (draws, len(runs)) -> the gap closed in each draw (draws,); nan where there is none to close."""
    zero, init, trained = (
        np.array([measure(methods[name][run].start) for run in runs]) for name in (START, method, OWN)
    )
    room = weights @ (zero - trained)
    return np.divide(weights @ (zero - init), room, out=np.full(len(room), np.nan), where=room > 0)


def _estimate(runs: Sequence[Run], bootstrap: int, seed: int, statistic: Callable) -> Estimate:
    """A statistic of weighted runs, with its bootstrap interval; all None without runs or without a value."""
    if not runs:
        return None, None, None
    resamples = draw_weights(runs, bootstrap, seed)
    values = statistic(np.vstack([np.ones((1, len(runs)), dtype=int), resamples]))
    return (None, None, None) if np.isnan(values[0]) else (float(values[0]), *interval(values[1:]))


def race(runs: Runs, targets: Runs, bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Seconds to another method's last FID on the same concept and seed: the last six of RACE_COLUMNS.

    seconds_to_target: median over the runs that both have of the seconds to that FID, see `Curve.seconds_to`; speedup:
    median of the target method's own seconds to it over these. A run that never gets there is censored: all that is
    known is that it takes longer than it was given, so it counts as infinite seconds and a speed-up of 0. Both medians are
    None where the middle run is censored (of an even number, either middle run): "never" in every table and figure.
    speedup_low, speedup_high: 95 % bootstrap over concepts, then seeds (None with bootstrap=0). No speed-up is given
    between runs of different devices. censored: how many runs are. All None where the two have no run in common, or the
    target's were not trained (their last step is 0): a start is no target.
    """
    common = [run for run in runs if run in targets and targets[run].end["step"] > 0]
    if not common:
        return dict.fromkeys(RACE_COLUMNS[4:]) | {"runs": 0}
    goals = {run: targets[run].end["fid"] for run in common}
    seconds = [runs[run].seconds_to(goals[run]) for run in common]
    speedups = [targets[run].seconds_to(goals[run]) / own for run, own in zip(common, seconds, strict=True)]
    median = statistics.median(seconds)
    alike = all(runs[run].end["device"] == targets[run].end["device"] for run in common)
    low, high = _median_interval(common, speedups, bootstrap, seed) if bootstrap and alike else (None, None)
    return {
        "runs": len(common),
        "seconds_to_target": median if median < NEVER else None,
        "speedup": statistics.median(speedups) if median < NEVER and alike else None,
        "speedup_low": low,
        "speedup_high": high,
        "censored": seconds.count(NEVER),
    }


def races(groups: Groups, targets: Sequence[str] = (FROM_SCRATCH, START), bootstrap: int = 2000) -> Table:
    """-> dicts with RACE_COLUMNS: every method but the floor against the last FID of each target method, see `race`."""
    table = []
    for (base, split), methods in groups.items():
        for target in [name for name in targets if name in methods]:
            for method, runs in methods.items():
                figures = race(runs, methods[target], bootstrap)
                if figures["runs"] and method != FLOOR:
                    table.append({"base": base, "split": split, "target": target, "method": method} | figures)
    return table


def _median_interval(runs: Sequence[Run], values: Sequence[float], bootstrap: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the weighted median; values may be inf."""
    order = np.argsort(values)
    weights = draw_weights(runs, bootstrap, seed)[:, order]
    # The median of a resample: the first value at which half of its weight is reached.
    half = weights.sum(1, keepdims=True) / 2
    medians = np.sort(np.asarray(values)[order][(weights.cumsum(1) >= half).argmax(1)])
    low, high = int(0.025 * bootstrap), min(int(np.ceil(0.975 * bootstrap)), bootstrap - 1)
    return float(medians[low]), float(medians[high])


def _same_steps(ours: Curve, rival: Curve) -> tuple[ResultRow, ResultRow]:
    """The rival as it stood after no more updates than we spent in all."""
    within = [row for row in rival.rows if row["step"] <= ours.end["step"]]
    return ours.end, (within or rival.rows[:1])[-1]


POINTS: dict[str, Callable[[Curve, Curve], tuple[ResultRow, ResultRow]]] = {
    "start": lambda ours, rival: (ours.start, rival.start),
    "same_steps": _same_steps,
    "end": lambda ours, rival: (ours.end, rival.end),
}
MEASURES: dict[str, Measure] = {"fid": log_fid, "l1": lambda row: float(np.log(max(row["l1"], 1e-12)))}


def wins(groups: Groups, method: str = OURS, bootstrap: int = 2000, seed: int = 0) -> Table:
    """-> dicts with WIN_COLUMNS: `method` against every rival, per base, split, point and metric.

    Pairs share base, concept and seed. point: "start" (step 0), "end" (each at its own last step, whatever
    it spent), "same_steps" (ours at its end, the rival with no more updates than that).
    win_rate: share of pairs where ours is lower, ties counting half, with a 95 % two-level bootstrap.
    ratio: geometric mean of ours over the rival's, below 1 where ours is better, with the same bootstrap.
    p_value: two-sided sign test over concepts (each with the mean log ratio of its seeds, ties left out);
    seeds of one concept are not independent trials. With 5 concepts it cannot fall below 0.0625.
    """
    table = []
    for (base, split), methods in groups.items():
        for rival in [name for name in methods if name != method and method in methods]:
            pairs = [run for run in methods[method] if run in methods[rival]]
            if not pairs:
                continue
            weights = draw_weights(pairs, bootstrap, seed)
            for point, choose in POINTS.items():
                rows = [choose(methods[method][run], methods[rival][run]) for run in pairs]
                for metric, measure in MEASURES.items():
                    logs = np.array([measure(ours) - measure(other) for ours, other in rows])
                    head = {"base": base, "split": split, "method": method, "rival": rival}
                    table.append(head | {"point": point, "metric": metric} | _figures(pairs, logs, weights))
    return table


def _figures(pairs: Sequence[Run], logs: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """logs: log(ours / rival's) of each pair; weights: (draws, len(pairs))."""
    won = (logs < 0) + 0.5 * (logs == 0)
    total = weights.sum(axis=1)
    win_low, win_high = interval(weights @ won / total)
    low, high = interval(np.exp(weights @ logs / total))
    by_concept = defaultdict(list)
    for (concept, _), value in zip(pairs, logs, strict=True):
        by_concept[concept].append(value)
    means = [statistics.fmean(group) for group in by_concept.values()]
    better, worse = sum(mean < 0 for mean in means), sum(mean > 0 for mean in means)
    return {
        "concepts": len(by_concept),
        "pairs": len(pairs),
        "win_rate": float(won.mean()),
        "win_rate_low": win_low,
        "win_rate_high": win_high,
        "ratio": float(np.exp(logs.mean())),
        "ratio_low": low,
        "ratio_high": high,
        "p_value": float(binomtest(better, better + worse).pvalue) if better + worse else 1.0,
    }


def per_concept(groups: Groups) -> Table:
    """A dict per base, split, method and concept: its prompt, the number of runs (seeds), mean seconds, and each
    metric's mean over seeds at the first and the last evaluation (`fid_start`, `fid_end`, ...; None: not measured)."""
    table = []
    for (base, split), methods in groups.items():
        for method, runs in methods.items():
            for concept in dict.fromkeys(concept for concept, _ in runs):
                curves = [curve for (name, _), curve in runs.items() if name == concept]
                row = {"base": base, "split": split, "concept": concept, "method": method}
                row |= {"prompt": curves[0].start["prompt"], "runs": len(curves)}
                row["seconds"] = statistics.fmean(curve.end["train_seconds"] for curve in curves)
                for metric in METRICS:
                    row[f"{metric}_start"] = mean((curve.start[metric] for curve in curves), metric)
                    row[f"{metric}_end"] = mean((curve.end[metric] for curve in curves), metric)
                table.append(row)
    return table

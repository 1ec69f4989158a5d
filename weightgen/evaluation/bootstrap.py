"""Two-level bootstrap: concepts with replacement, then seeds with replacement inside each."""

from collections.abc import Sequence

import numpy as np

Run = tuple[str, int]  # (concept, seed)


def draw_weights(runs: Sequence[Run], draws: int, seed: int) -> np.ndarray:
    """How often each run occurs in each resample: int (draws, len(runs)).

    Seeds of one concept share its targets, so they are not independent observations: resampling runs
    alone would claim too narrow an interval. Weights serve any statistic of sums, and using them for two
    methods at once makes the comparison paired. The same runs and seed give the same weights.
    """
    concepts = sorted({concept for concept, _ in runs})
    members = [[i for i, (name, _) in enumerate(runs) if name == concept] for concept in concepts]
    counts = np.array([len(member) for member in members])
    # table[c, j]: position of concept c's run j, padded where c has fewer seeds than the most.
    table = np.array([member + [member[0]] * (counts.max() - len(member)) for member in members])
    rng = np.random.default_rng(seed)
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

"""Are generated weights new, or a training set seen again? (the question of arXiv 2506.07998)

All distances are in units of the training sets' own spread, s = sqrt(mean_i |w_i - mean|^2): 0 is a copy,
about 1 is as far as the mean set is from a typical training set, sqrt(2) the distance of two unrelated ones.
"""

from typing import Any

import numpy as np
from scipy.optimize import nnls

from weightgen.evaluation.results import columns

NOVELTY_COLUMNS = columns("concept method nearest nearest_distance interpolation_distance mean_distance train_distance")


def spread(train: np.ndarray) -> float:
    """train: (N, P), N >= 2 -> RMS norm of the centred sets. Raises ValueError where all are equal."""
    train = _matrix(train, "train")
    scale = float(np.sqrt(((train - train.mean(axis=0)) ** 2).sum(axis=1).mean()))
    if len(train) < 2 or not scale > 0:
        raise ValueError("novelty needs at least two different training sets")
    return scale


def nearest_distances(sets: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sets: (M, P), train: (N, P) -> (distance to the nearest training set (M,), its index (M,))."""
    distances = _distances(sets, train) / spread(train)
    return distances.min(axis=1), distances.argmin(axis=1)


def interpolation_distances(sets: np.ndarray, train: np.ndarray, k: int = 5) -> np.ndarray:
    """Distance (M,) of each of sets: (M, P) to the best convex combination of its k nearest in train: (N, P).

    A copy or a blend of training sets is at 0. Never more than the nearest distance.
    """
    sets, train, scale = _matrix(sets, "sets"), _matrix(train, "train"), spread(train)
    order = _distances(sets, train).argsort(axis=1, kind="stable")[:, :k]
    return np.array([hull_distance(one, train[near]) / scale for one, near in zip(sets, order, strict=True)])


def hull_distance(point: np.ndarray, corners: np.ndarray) -> float:
    """min |point - lambda @ corners| over lambda >= 0 with sum 1; point: (P,), corners: (k, P).

    For mu = c lambda, |B mu|^2 + (sum mu - 1)^2 is least over c at q / (1 + q) with q = |B lambda|^2,
    which grows with q: so non-negative least squares, normalised, solves the constrained problem exactly.
    """
    offsets = (corners - point).T
    # Only the k x k geometry matters; and q of order 1 keeps the two terms in balance.
    factor = np.linalg.qr(offsets, mode="r")
    scale = np.linalg.norm(factor, axis=0).min()
    if scale == 0:
        return 0.0
    system = np.vstack([factor / scale, np.ones(factor.shape[1])])
    mixture, _ = nnls(system, np.append(np.zeros(len(factor)), 1.0))
    return float(np.linalg.norm(factor @ (mixture / mixture.sum())))


def leave_one_out(train: np.ndarray) -> float:
    """Median distance of a training set to the nearest other one: what `nearest_distance` is read against."""
    distances = _distances(train, train)
    np.fill_diagonal(distances, np.inf)
    return float(np.median(distances.min(axis=1)) / spread(train))


def novelty(
    sets: np.ndarray, train: np.ndarray, concepts: list[str], train_concepts: list[str], method: str, k: int = 5
) -> list[dict[str, Any]]:
    """sets: (M, P) made for `concepts` by `method`; train: (N, P) of `train_concepts` -> dicts.

    Keys are NOVELTY_COLUMNS. nearest: the training concept closest in weights; mean_distance: to the mean
    training set; train_distance: `leave_one_out`, the same in every row.
    """
    sets, train = _matrix(sets, "sets"), _matrix(train, "train")
    if (len(concepts), len(train_concepts)) != (len(sets), len(train)):
        raise ValueError(f"{len(sets)} and {len(train)} sets, {len(concepts)} and {len(train_concepts)} names")
    distance, index = nearest_distances(sets, train)
    hull = interpolation_distances(sets, train, k)
    centre = np.linalg.norm(sets - train.mean(axis=0), axis=1) / spread(train)
    usual = leave_one_out(train)
    return [
        {
            "concept": concept,
            "method": method,
            "nearest": train_concepts[index[i]],
            "nearest_distance": float(distance[i]),
            "interpolation_distance": float(hull[i]),
            "mean_distance": float(centre[i]),
            "train_distance": usual,
        }
        for i, concept in enumerate(concepts)
    ]


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"{name} must be (N, P), got {values.shape}")
    return values


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M, P), (N, P) -> Euclidean (M, N); by differences, since |a|^2 + |b|^2 - 2ab blurs copies."""
    a, b = _matrix(a, "sets"), _matrix(b, "train")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"sets of {a.shape[1]} and {b.shape[1]} weights do not compare")
    return np.stack([np.linalg.norm(b - one, axis=1) for one in a]) if len(a) else np.zeros((0, len(b)))

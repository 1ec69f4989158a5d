"""Two variants of an experiment on the same concepts and seeds: how much more of the gap one closes than the other."""

from collections.abc import Mapping

import numpy as np

from weightgen.evaluation.bootstrap import draw_weights, interval
from weightgen.evaluation.methods import CEILING, START
from weightgen.evaluation.summary import Runs

Variant = tuple[Mapping[str, Runs], str]  # the runs of all methods of one base and split, and the method to judge


def gap_difference(
    first: Variant, second: Variant, bootstrap: int = 2000, seed: int = 0
) -> tuple[float | None, float | None, float | None]:
    """(value, low, high) of the first's gap closed minus the second's, at step 0 on L1, over the runs of both.

    Each variant has its own zero and ceiling. Paired: both take the same resamples of concepts and seeds, so what
    makes a concept hard for both cancels. None where either has no gap to close (see summary.gap_closed).
    """
    known = [set(methods.get(START, {})) & set(methods.get(CEILING, {})) for methods, _ in (first, second)]
    runs = sorted(known[0] & known[1] & set(first[0][first[1]]) & set(second[0][second[1]]))
    if not runs:
        return None, None, None
    weights = np.vstack([np.ones((1, len(runs)), dtype=int), draw_weights(runs, bootstrap, seed)])
    closed = []
    for methods, method in (first, second):
        zero, l1, trained = (
            np.array([methods[name][run].start["l1"] for run in runs]) for name in (START, method, CEILING)
        )
        room = weights @ (zero - trained)
        closed.append(np.divide(weights @ (zero - l1), room, out=np.full(len(room), np.nan), where=room > 0))
    difference = closed[0] - closed[1]
    if not np.isfinite(difference[0]):
        return None, None, None
    return float(difference[0]), *interval(difference[1:])

import numpy as np

from weightgen.evaluation.bootstrap import draw_weights, interval

RUNS = [("a", 0), ("b", 0), ("a", 1), ("c", 0), ("c", 1), ("c", 2)]


def test_every_drawn_concept_brings_as_many_runs_as_it_has():
    weights = draw_weights(RUNS, 4000, seed=0)
    per_concept = {name: weights[:, [c == name for c, _ in RUNS]].sum(axis=1) for name in "abc"}
    draws = per_concept["a"] / 2 + per_concept["b"] + per_concept["c"] / 3
    np.testing.assert_array_equal(draws, 3)
    np.testing.assert_array_equal(per_concept["c"] % 3, 0)
    # Each run is expected once: concepts by symmetry, seeds by symmetry within them.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)


def test_one_run_has_no_spread():
    np.testing.assert_array_equal(draw_weights([("a", 0)], 5, seed=0), 1)


def test_the_variance_is_the_between_concept_one():
    # 10 concepts x 5 equal seeds: the mean varies as that of 10 values, not of 50.
    runs = [(f"c{i}", s) for i in range(10) for s in range(5)]
    values = np.array([int(name[1:]) for name, _ in runs], dtype=float)
    means = draw_weights(runs, 4000, seed=1) @ values / 50
    np.testing.assert_allclose(means.var(), np.var(range(10)) / 10, rtol=0.1)


def test_interval():
    np.testing.assert_allclose(interval(np.arange(101.0)), (2.5, 97.5))
    assert interval(np.array([1.0, np.nan])) == (None, None)
    assert interval(np.array([])) == (None, None)

import math

import numpy as np
import pytest

from weightgen.evaluation.comparisons import per_concept
from weightgen.evaluation.curves import band, collect, draw_weights, interval, mean

RUNS = [("a", 0), ("b", 0), ("a", 1), ("c", 0), ("c", 1), ("c", 2)]


def _row(method, concept, seed, step, fid, l1, seconds=None):
    return {
        "experiment": "x",
        "base": "b",
        "concept": concept,
        "prompt": f"a {concept}",
        "split": "s",
        "method": method,
        "seed": seed,
        "step": step,
        "train_seconds": float(step) if seconds is None else seconds,
        "fid": fid,
        "kid": math.nan,
        "l1": l1,
        "feature_set": "f",
        "device": "cpu",
        "perceptual": math.nan,
        "mmd": math.nan,
    }


def _runs(rows):
    return collect(rows)["b", "s"]


def test_a_band_of_runs_that_agree_has_no_width():
    rows = [_row("m", concept, 0, step, 100.0 / (1 + step), 0.5) for concept in "abc" for step in (0, 1)]
    points = band(_runs(rows)["m"], "fid")
    assert [(p.step, p.seconds) for p in points] == [(0, 0.0), (1, 1.0)]
    for point, fid in zip(points, (100.0, 50.0), strict=True):
        assert point[2:] == pytest.approx((fid,) * 3)


def test_fid_is_averaged_by_its_logarithm_and_l1_is_not():
    rows = [_row("m", "a", 0, 0, 10.0, 0.1, 1.0), _row("m", "b", 0, 0, 1000.0, 0.3, 3.0)]
    (fid,), (l1,) = band(_runs(rows)["m"], "fid"), band(_runs(rows)["m"], "l1")
    assert (fid.value, l1.value, fid.seconds) == pytest.approx((100.0, 0.2, 2.0))
    # Two concepts: a resample is a twice, b twice or both, with 1/4, 1/4, 1/2: the interval is all there is.
    assert (fid.low, fid.high) == pytest.approx((10.0, 1000.0))
    assert (l1.low, l1.high) == pytest.approx((0.1, 0.3))
    weights = draw_weights([("a", 0), ("b", 0)], 1000, 0)
    assert 200 < (weights[:, 0] == 2).sum() < 300


def test_only_steps_that_all_runs_measured_and_metrics_that_all_have():
    rows = [_row("m", "a", 0, s, 1.0, 0.1) for s in (0, 5, 9)] + [_row("m", "b", 0, s, 1.0, 0.1) for s in (0, 9)]
    assert [p.step for p in band(_runs(rows)["m"], "fid")] == [0, 9]
    assert band(_runs(rows)["m"], "kid") == []


def test_a_row_per_concept_and_method_with_means_over_seeds():
    rows = [
        _row("m", "a", seed, step, 10.0 ** (1 + 2 * seed + step), 0.1 + seed / 10) for seed in (0, 1) for step in (0, 1)
    ]
    rows += [_row("n", "a", 0, 0, 7.0, 0.2)]
    first, second = per_concept(collect(rows))
    assert (first["concept"], first["method"], first["prompt"], first["runs"]) == ("a", "m", "a a", 2)
    assert (first["fid_start"], first["fid_end"], first["l1_end"]) == pytest.approx((100.0, 1000.0, 0.15))
    assert first["kid_end"] is None
    assert (second["method"], second["fid_start"], second["fid_end"]) == ("n", pytest.approx(7.0), pytest.approx(7.0))


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


def test_means_know_what_was_not_measured():
    assert mean([1.0, 100.0], "fid") == pytest.approx(10.0)
    assert mean([1.0, 100.0], "l1") == pytest.approx(50.5)
    assert mean([1.0, math.nan], "kid") is None

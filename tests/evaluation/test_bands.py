import math

import pytest

from weightgen.evaluation.bands import band, per_concept
from weightgen.evaluation.bootstrap import draw_weights
from weightgen.evaluation.summary import collect


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
    }


def _runs(rows):
    return collect(rows)["b", "s"]


def test_a_band_of_runs_that_agree_has_no_width():
    rows = [_row("m", concept, 0, step, 100.0 / (1 + step), 0.5) for concept in "abc" for step in (0, 1)]
    points = band(_runs(rows)["m"], "fid")
    assert [(p["step"], p["seconds"]) for p in points] == [(0, 0.0), (1, 1.0)]
    for point, fid in zip(points, (100.0, 50.0), strict=True):
        assert [point[k] for k in ("value", "low", "high")] == pytest.approx([fid] * 3)


def test_fid_is_averaged_by_its_logarithm_and_l1_is_not():
    rows = [_row("m", "a", 0, 0, 10.0, 0.1, 1.0), _row("m", "b", 0, 0, 1000.0, 0.3, 3.0)]
    (fid,), (l1,) = band(_runs(rows)["m"], "fid"), band(_runs(rows)["m"], "l1")
    assert (fid["value"], l1["value"], fid["seconds"]) == pytest.approx((100.0, 0.2, 2.0))
    # Two concepts: a resample is a twice, b twice or both, with 1/4, 1/4, 1/2: the interval is all there is.
    assert (fid["low"], fid["high"]) == pytest.approx((10.0, 1000.0))
    assert (l1["low"], l1["high"]) == pytest.approx((0.1, 0.3))
    weights = draw_weights([("a", 0), ("b", 0)], 1000, 0)
    assert 200 < (weights[:, 0] == 2).sum() < 300


def test_only_steps_that_all_runs_measured_and_metrics_that_all_have():
    rows = [_row("m", "a", 0, s, 1.0, 0.1) for s in (0, 5, 9)] + [_row("m", "b", 0, s, 1.0, 0.1) for s in (0, 9)]
    assert [p["step"] for p in band(_runs(rows)["m"], "fid")] == [0, 9]
    assert band(_runs(rows)["m"], "kid") == []


def test_a_row_per_concept_and_method_with_means_over_seeds():
    rows = [
        _row("m", "a", seed, step, 10.0 ** (1 + 2 * seed + step), 0.1 + seed / 10) for seed in (0, 1) for step in (0, 1)
    ]
    rows += [_row("n", "a", 0, 0, 7.0, 0.2)]
    first, second = per_concept(_runs(rows))
    assert (first["concept"], first["method"], first["prompt"], first["runs"]) == ("a", "m", "a a", 2)
    assert (first["fid_start"], first["fid_end"], first["l1_end"]) == pytest.approx((100.0, 1000.0, 0.15))
    assert first["kid_end"] is None
    assert (second["method"], second["fid_start"], second["fid_end"]) == ("n", pytest.approx(7.0), pytest.approx(7.0))

"""Agreement of metrics on rankings worked out by hand."""

import math

import pytest

from tests.helpers.results import run
from weightgen.evaluation.agreement import AGREEMENT_COLUMNS, agreement
from weightgen.evaluation.curves import collect


def ranked(kid: dict[str, float], concept: str = "c") -> list:
    """Three methods of FID 1, 2, 3 at the end, L1 in the same order, KID as given; all alike at the start."""
    rows = []
    for fid, (method, value) in enumerate(kid.items(), 1):
        rows += run(method, concept, [(0, 0.0, 5.0)], kid=0.0)
        rows += run(method, concept, [(1, 1.0, float(fid))], kid=value)
    return rows


def table(rows: list) -> dict:
    return {(row["point"], row["metric"]): row for row in agreement(collect(rows))}


def test_mean_of_spearmans_correlation_over_runs():
    rows = ranked({"e2gan": 1.0, "mean": 2.0, "generated": 3.0}, "a")  # the same order as FID: 1
    rows += ranked({"e2gan": 2.0, "mean": 1.0, "generated": 3.0}, "b")  # 1 - 6 (1 + 1 + 0) / (3 * 8) = 1/2
    found = table(rows)
    assert all(tuple(row) == AGREEMENT_COLUMNS for row in found.values())
    fid = found["end", "fid"]
    assert (fid["runs"], fid["fid"], fid["l1"], fid["kid"]) == (2, None, pytest.approx(1), pytest.approx(0.75))
    assert fid["others"] == pytest.approx((1 + 0.75) / 2)
    assert fid["mmd"] is fid["perceptual"] is found["end", "mmd"]["others"] is None  # not measured
    assert found["end", "kid"]["fid"] == pytest.approx(0.75)


def test_a_metric_that_tells_no_methods_apart_agrees_with_none():
    assert table(ranked({"e2gan": 1.0, "mean": 2.0, "generated": 3.0}))["start", "fid"]["l1"] is None


def test_two_methods_are_no_ranking():
    assert table(ranked({"e2gan": 1.0, "mean": 2.0}))["end", "fid"]["runs"] == 0
    assert not math.isnan(table(ranked({"e2gan": 1.0, "mean": 2.0}))["end", "fid"]["others"] or 0)

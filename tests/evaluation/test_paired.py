"""The difference of two gaps closed, against hand-computed values."""

import pytest
from test_summary import run

from weightgen.evaluation.paired import gap_difference
from weightgen.evaluation.summary import collect

GROUP = ("paper", "unseen_factor")


def variant(zero: dict[str, float], method: dict[str, float], trained: dict[str, float], name: str = "generated"):
    """FID (and 100 x L1) of each concept at step 0."""
    scores = {"e2gan": zero, name: method, "trained": trained}
    rows = [row for m, by in scores.items() for c, fid in by.items() for row in run(m, c, [(0, 0.0, fid)])]
    return collect(rows)[GROUP], name


def test_each_variant_is_measured_on_its_own_gap():
    first = variant({"a": 50.0, "b": 40.0}, {"a": 30.0, "b": 40.0}, {"a": 30.0, "b": 20.0})  # 20 of 40
    second = variant({"a": 60.0, "b": 40.0}, {"a": 50.0, "b": 40.0}, {"a": 30.0, "b": 30.0})  # 10 of 40
    value, low, high = gap_difference(first, second)
    assert value == pytest.approx(0.25)
    assert low <= value <= high


def test_what_makes_a_concept_hard_cancels():
    zero, trained = dict.fromkeys("abcd", 50.0), dict.fromkeys("abcd", 10.0)
    closed = dict(zip("abcd", (12.0, 25.0, 35.0, 44.0), strict=True))
    better = variant(zero, closed, trained, "generated_shuffled")
    worse = variant(zero, {name: fid + 4 for name, fid in closed.items()}, trained)
    assert gap_difference(better, worse) == pytest.approx((0.1, 0.1, 0.1))  # 4 of 40 everywhere


def test_only_runs_of_both_count_and_none_is_no_difference():
    zero, trained = {"a": 50.0, "b": 50.0}, {"a": 10.0, "b": 10.0}
    first, second = variant(zero, {"a": 30.0, "b": 10.0}, trained), variant(zero, {"a": 40.0}, trained)
    assert gap_difference(first, second)[0] == pytest.approx(0.25)
    assert gap_difference(first, variant({"c": 5.0}, {"c": 4.0}, {"c": 3.0})) == (None, None, None)
    no_gap = variant(zero, zero, zero)
    assert gap_difference(first, no_gap) == (None, None, None)

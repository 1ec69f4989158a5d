import math

import pytest

from tests.helpers.results import run
from weightgen.errors import DataError
from weightgen.evaluation.comparisons import SUMMARY_COLUMNS, gap_difference, summarize
from weightgen.evaluation.curves import INSTANT, collect
from weightgen.evaluation.results import read_table, write_table

GROUP = ("paper", "unseen_factor")


def table(rows, **options):
    return {(row["base"], row["split"], row["method"]): row for row in summarize(collect(rows), **options)}


def example():
    """Two concepts; pix2pix ends at 20 and 40; generated gets there at 3 s in one, never in the other."""
    return [
        *run("pix2pix", "a", [(0, 0.0, 90.0), (9, 10.0, 20.0), (10, 12.0, 20.0)], base="none"),
        *run("pix2pix", "b", [(0, 0.0, 80.0), (10, 12.0, 40.0)], base="none"),
        *run("e2gan", "a", [(0, 0.0, 60.0), (5, 5.0, 20.0)]),
        *run("e2gan", "b", [(0, 0.0, 50.0), (5, 8.0, 40.0)]),
        *run("generated", "a", [(0, 1.0, 40.0), (2, 3.0, 16.0)]),
        *run("generated", "b", [(0, 1.0, 45.0), (2, 3.0, 41.0)]),
        *run("trained", "a", [(0, 30.0, 10.0)]),
        *run("trained", "b", [(0, 30.0, 30.0)]),
    ]


def test_every_cell_by_hand():
    row = table(example())["paper", "unseen_factor", "generated"]
    assert tuple(row) == SUMMARY_COLUMNS
    assert (row["concepts"], row["seeds"]) == (2, 1)
    assert row["fid_start"] == pytest.approx((40 * 45) ** 0.5)
    assert row["fid_end"] == pytest.approx((16 * 41) ** 0.5)
    assert row["l1_start"] == pytest.approx((0.40 + 0.45) / 2)
    assert row["l1_end"] == pytest.approx((0.16 + 0.41) / 2)
    # Sums, not a mean of ratios: (20 + 5) / (50 + 20).
    assert row["gap_closed"] == pytest.approx(25 / 70)
    logs = (math.log(60 / 40) + math.log(50 / 45)) / (math.log(60 / 10) + math.log(50 / 30))
    assert row["gap_closed_fid"] == pytest.approx(logs)
    # Resampled concepts are (a, a), (a, b) or (b, b): the interval runs from b's own ratio to a's.
    assert (row["gap_closed_low"], row["gap_closed_high"]) == pytest.approx((5 / 20, 20 / 50))
    assert row["seconds"] == pytest.approx(3.0)
    assert row["censored"] == 1
    assert row["seconds_to_target"] is None
    assert row["speedup"] is None


def test_time_to_pix2pixs_last_fid():
    rows = table(example())
    e2gan = rows["paper", "unseen_factor", "e2gan"]
    assert e2gan["seconds_to_target"] == pytest.approx((5 + 8) / 2)
    # pix2pix first touches its last FID at 10 s, not at its end: 10 / 5 and 12 / 8.
    assert e2gan["speedup"] == pytest.approx((2.0 + 1.5) / 2)
    assert e2gan["censored"] == 0
    scratch = rows["paper", "unseen_factor", "pix2pix"]
    assert (scratch["speedup"], scratch["seconds_to_target"]) == (1.0, 11.0)


def test_a_start_at_the_target_takes_an_instant(tmp_path):
    rows = [*run("pix2pix", "a", [(0, 0.0, 9.0), (1, 2.0, 5.0)]), *run("mean", "a", [(0, 0.0, 5.0)])]
    summary = summarize(collect(rows))
    assert summary[1]["speedup"] == 2.0 / INSTANT
    write_table(tmp_path / "s.csv", SUMMARY_COLUMNS, summary)
    cells = read_table(tmp_path / "s.csv")[1]
    assert (cells["speedup"], cells["seconds_to_target"], cells["gap_closed"]) == ("2000.0", "0.001", "")


def test_the_ends_of_the_gap():
    rows = table(example())
    for method, value in (("e2gan", 0.0), ("trained", 1.0)):
        row = rows["paper", "unseen_factor", method]
        assert row["gap_closed"] == row["gap_closed_low"] == row["gap_closed_high"] == value
        assert row["gap_closed_fid"] == value


def test_methods_without_a_base_appear_under_each():
    rows = [*example(), *run("e2gan", "a", [(0, 0.0, 60.0)], base="broad")]
    keys = list(table(rows))
    assert [key[0] for key in keys if key[2] == "pix2pix"] == ["broad", "paper"]
    assert not any(key[0] == "none" for key in keys)
    assert list(table(run("pix2pix", "a", [(0, 0.0, 1.0)], base="none"))) == [("none", "unseen_factor", "pix2pix")]


def test_methods_keep_their_order_and_splits_stay_apart():
    rows = [*reversed(example()), *run("zebra", "a", [(0, 0.0, 7.0)])]
    rows += run("generated", "c", [(0, 0.0, 7.0)], split="unseen_combination")
    keys = list(table(rows))
    assert [split for _, split, _ in keys] == ["unseen_combination"] + 5 * ["unseen_factor"]
    assert [key[2] for key in keys[1:]] == ["pix2pix", "e2gan", "zebra", "generated", "trained"]


def test_missing_rivals_leave_cells_empty():
    (row,) = summarize(collect(run("generated", "a", [(0, 1.0, 4.0)])))
    empty = {name for name, value in row.items() if value is None}
    gap = {"gap_closed", "gap_closed_low", "gap_closed_high", "gap_closed_fid"}
    unmeasured = {f"{metric}_{when}" for metric in ("mmd", "perceptual") for when in ("start", "end")}
    assert empty == gap | unmeasured | {"seconds_to_target", "speedup", "censored"}


def test_no_gap_no_ratio():
    rows = [*run("e2gan", "a", [(0, 0.0, 5.0)]), *run("trained", "a", [(0, 0.0, 5.0)])]
    assert table(rows)["paper", "unseen_factor", "trained"]["gap_closed"] is None


def test_mixed_features_and_doubled_rows_are_refused():
    with pytest.raises(DataError, match="features"):
        collect([*example(), *run("mean", "a", [(0, 0.0, 1.0)], feature_set="inception")])
    with pytest.raises(DataError, match="one experiment"):
        collect(example() + example())


def test_the_bootstrap_is_reproducible():
    assert summarize(collect(example()), seed=3) == summarize(collect(example()), seed=3)


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

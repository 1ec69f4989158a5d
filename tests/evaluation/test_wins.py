import math

import pytest

from weightgen.evaluation.comparisons import WIN_COLUMNS, wins
from weightgen.evaluation.curves import collect


def run(method, concept, curve, seed=0, base="paper"):
    """curve: {step: fid}; l1 = 1 / fid, so that the two metrics disagree."""
    return [
        {
            "experiment": "demo",
            "base": base,
            "concept": concept,
            "prompt": concept,
            "split": "unseen_factor",
            "method": method,
            "seed": seed,
            "step": step,
            "train_seconds": float(step),
            "fid": fid,
            "kid": 0.0,
            "l1": 1 / fid,
            "feature_set": "efficientnet_lite0",
            "device": "cpu",
            "perceptual": math.nan,
            "mmd": math.nan,
        }
        for step, fid in curve.items()
    ]


def figures(rows, **options):
    return {(row["rival"], row["point"], row["metric"]): row for row in wins(collect(rows), **options)}


def test_by_hand():
    rows = []
    for i in range(6):
        rows += run("generated", f"c{i}", {0: 10.0, 2: 5.0})
        # By step 4 it has overtaken ours; in one concept it led from the start.
        rows += run("e2gan", f"c{i}", {0: 5.0 if i == 0 else 20.0, 2: 10.0, 4: 2.5})
    table = figures(rows)
    start = table["e2gan", "start", "fid"]
    assert (start["concepts"], start["pairs"]) == (6, 6)
    assert start["win_rate"] == pytest.approx(5 / 6)
    assert start["ratio"] == pytest.approx((2 * 0.5**5) ** (1 / 6))
    # Two-sided sign test, 5 of 6: 2 (C(6, 5) + C(6, 6)) / 2^6.
    assert start["p_value"] == pytest.approx(2 * 7 / 64)
    assert start["win_rate_low"] < 5 / 6 <= start["win_rate_high"] == 1.0
    assert table["e2gan", "start", "l1"]["win_rate"] == pytest.approx(1 / 6)
    same = table["e2gan", "same_steps", "fid"]
    assert (same["ratio"], same["ratio_low"], same["win_rate_low"]) == pytest.approx((0.5, 0.5, 1.0))
    assert same["p_value"] == pytest.approx(2 / 64)
    assert table["e2gan", "end", "fid"]["ratio"] == pytest.approx(2.0)


def test_seeds_of_a_concept_are_one_trial():
    rows = []
    for seed in range(10):
        rows += run("generated", "a", {0: 1.0}, seed) + run("mean", "a", {0: 2.0}, seed)
    row = figures(rows)["mean", "start", "fid"]
    assert (row["concepts"], row["pairs"], row["win_rate"], row["p_value"]) == (1, 10, 1.0, 1.0)


def test_ties_count_half_and_are_left_out_of_the_test():
    rows = run("generated", "a", {0: 3.0}) + run("mean", "a", {0: 3.0})
    row = figures(rows)["mean", "end", "fid"]
    assert (row["win_rate"], row["ratio"], row["p_value"]) == (0.5, 1.0, 1.0)


def test_only_shared_pairs_and_no_method_no_rows():
    rows = run("generated", "a", {0: 1.0}) + run("pix2pix", "a", {0: 2.0}, base="none")
    rows += run("generated", "b", {0: 1.0}) + run("mean", "z", {0: 2.0})
    table = wins(collect(rows))
    assert {row["rival"] for row in table} == {"pix2pix"}
    assert {row["pairs"] for row in table} == {1}
    assert wins(collect(rows), method="absent") == []
    assert tuple(table[0]) == WIN_COLUMNS

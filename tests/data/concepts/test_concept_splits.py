"""Splits by hash: stable, never empty, whole categories for unseen_factor."""

import pytest

from weightgen.data.concepts.splits import assign_splits
from weightgen.errors import DataError

SHARES = {"validation": 0.1, "unseen_combination": 0.1, "unseen_factor": 0.1}
PROMPTS = [f"look number {i}" for i in range(2000)]


def test_shares_are_met_and_more_prompts_move_none():
    splits = assign_splits(PROMPTS, SHARES)
    for split, share in (("train", 0.7), ("validation", 0.1), ("unseen_combination", 0.1), ("unseen_factor", 0.1)):
        assert abs(splits.count(split) / 2000 - share) < 0.02  # three deviations
    assert assign_splits(PROMPTS[:500], SHARES) == splits[:500]
    assert assign_splits(PROMPTS[::-1], SHARES) == splits[::-1]
    assert assign_splits(PROMPTS, SHARES, seed=1) != splits


@pytest.mark.parametrize("count", [5, 6, 9, 20])
def test_every_wanted_split_gets_one_and_train_two(count):
    for seed in range(20):
        splits = assign_splits(PROMPTS[:count], SHARES, seed)
        assert set(splits) == {"train", *SHARES}
        assert splits.count("train") >= 2


def test_unseen_factor_holds_whole_categories():
    kinds = [f"kind {i % 40}" for i in range(2000)]
    splits = assign_splits(PROMPTS, SHARES, categories=kinds)
    held = {kind for kind, split in zip(kinds, splits, strict=True) if split == "unseen_factor"}
    assert held
    assert {s for k, s in zip(kinds, splits, strict=True) if k in held} == {"unseen_factor"}
    for seed in range(20):  # one category of nearly all is not given away
        splits = assign_splits(PROMPTS[:50], SHARES, seed, ["most"] * 49 + [None])
        assert splits.count("train") > 25


def test_a_split_without_share_gets_none():
    assert set(assign_splits(PROMPTS[:50], {"validation": 0.2})) == {"train", "validation"}


@pytest.mark.parametrize(
    "shares", [{"test": 0.1}, {"train": 0.5}, {"validation": -0.1}, {"validation": 0.5, "unseen_factor": 0.5}]
)
def test_bad_shares_are_named(shares):
    with pytest.raises(DataError, match=r"concepts\.splits"):
        assign_splits(PROMPTS, shares)


def test_too_few_prompts_say_what_would_do():
    with pytest.raises(DataError, match=r"4 concepts.*train"):
        assign_splits(PROMPTS[:4], SHARES)

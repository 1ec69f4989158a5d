"""Sides by hash: as they were recorded, stable, never empty."""

from collections import Counter

import pytest

from weightgen.data.splits import SPLITS, parts_of, place, split_folders, split_prompts
from weightgen.errors import DataError
from weightgen.files import sha256

LETTERS = dict(zip(SPLITS, "tvcf", strict=True))
SHARES = {"validation": 0.1, "unseen_combination": 0.1, "unseen_factor": 0.1}
PROMPTS = [f"look number {i}" for i in range(2000)]


def test_shares_are_met_and_more_prompts_move_none():
    splits = split_prompts(PROMPTS, SHARES)
    for split, share in (("train", 0.7), ("validation", 0.1), ("unseen_combination", 0.1), ("unseen_factor", 0.1)):
        assert abs(splits.count(split) / 2000 - share) < 0.02  # three deviations
    assert split_prompts(PROMPTS[:500], SHARES) == splits[:500]
    assert split_prompts(PROMPTS[::-1], SHARES) == splits[::-1]
    assert split_prompts(PROMPTS, SHARES, seed=1) != splits


@pytest.mark.parametrize("count", [5, 6, 9, 20])
def test_every_wanted_split_gets_one_and_train_two(count):
    for seed in range(20):
        splits = split_prompts(PROMPTS[:count], SHARES, seed)
        assert set(splits) == {"train", *SHARES}
        assert splits.count("train") >= 2


def test_unseen_factor_holds_whole_categories():
    kinds = [f"kind {i % 40}" for i in range(2000)]
    splits = split_prompts(PROMPTS, SHARES, categories=kinds)
    held = {kind for kind, split in zip(kinds, splits, strict=True) if split == "unseen_factor"}
    assert held
    assert {s for k, s in zip(kinds, splits, strict=True) if k in held} == {"unseen_factor"}
    for seed in range(20):  # one category of nearly all is not given away
        splits = split_prompts(PROMPTS[:50], SHARES, seed, ["most"] * 49 + [None])
        assert splits.count("train") > 25


def test_a_split_without_share_gets_none():
    assert set(split_prompts(PROMPTS[:50], {"validation": 0.2})) == {"train", "validation"}


@pytest.mark.parametrize(
    "shares", [{"test": 0.1}, {"train": 0.5}, {"validation": -0.1}, {"validation": 0.5, "unseen_factor": 0.5}]
)
def test_bad_shares_are_named(shares):
    with pytest.raises(DataError, match=r"concepts\.splits"):
        split_prompts(PROMPTS, shares)


def test_too_few_prompts_say_what_would_do():
    with pytest.raises(DataError, match=r"4 concepts.*train"):
        split_prompts(PROMPTS[:4], SHARES)


LENGTHS = {"train": 0.7, "validation": 0.1, "unseen_combination": 0.0, "unseen_factor": 0.2}
NAMES = [f"concept {i}" for i in range(400)]


def test_a_concepts_place_decides_its_split():
    chosen = split_folders(NAMES, LENGTHS, {})
    for name in NAMES:
        where = place(name)
        expected = "train" if where < 0.7 else "validation" if where < 0.8 else "unseen_factor"
        assert chosen[name] == expected
    counts = Counter(chosen.values())
    assert 240 < counts["train"] < 320  # binomial: mean 280, deviation 9
    assert counts["unseen_combination"] == 0


def test_adding_concepts_moves_no_other():
    few, many = split_folders(NAMES[:40], LENGTHS, {}), split_folders(NAMES, LENGTHS, {})
    assert all(many[name] == split for name, split in few.items())


def test_what_is_told_goes_before_and_small_sets_still_fill_every_split():
    for count in range(4, 12):
        chosen = split_folders(NAMES[:count], LENGTHS, {NAMES[1]: "validation"})
        sizes = Counter(chosen.values())
        assert chosen[NAMES[1]] == "validation"
        assert sizes["train"] >= 2
        assert sizes["unseen_factor"] >= 1
        assert list(chosen) == NAMES[:count]


@pytest.mark.parametrize(
    ("names", "shares", "given", "said"),
    [
        (NAMES[:3], LENGTHS, {}, r"3 concept.* need 4 .*train 2, validation 1.*add 1 more.*validation=0"),
        (NAMES, {"train": 1, "tests": 1}, {}, "unknown split tests"),
        (NAMES, {"train": 0, "unseen_factor": 1}, {}, "train some"),
        (NAMES, {"train": -1, "validation": 2}, {}, "0 or more"),
        (NAMES[:4], LENGTHS, dict.fromkeys(NAMES[:4], "train"), "tell fewer"),
    ],
)
def test_what_cannot_be_split_says_why(names, shares, given, said):
    with pytest.raises(DataError, match=said):
        split_folders(names, shares, given)


@pytest.mark.parametrize(
    ("count", "seed", "kinds", "recorded"),
    [
        (40, 0, None, "tttctttttvtttttttttvtfttttttcvcttvtttctt"),
        (40, 3, None, "ftttttttftttttctvttttttttttttttcfvtftctt"),
        (5, 1, None, "ctftv"),
        (40, 0, 8, "tttftttttvtftttttttftttttttfcvcttvtftctt"),
        (9, 2, 3, "fvfctttft"),
    ],
)
def test_prompts_stay_where_they_were_recorded(count, seed, kinds, recorded):
    prompts = [f"look number {i}" for i in range(count)]
    categories = kinds and [f"kind {i % kinds}" for i in range(count)]
    assert "".join(LETTERS[split] for split in split_prompts(prompts, SHARES, seed, categories)) == recorded


@pytest.mark.parametrize(
    ("count", "seed", "given", "recorded"),
    [
        (40, 0, {}, "ttttttvtttttttvtftftvtvtttttttttttttftvf"),
        (40, 2, {}, "vttftftvvtttttvttttfvtffttttfttttfvtfttt"),
        (5, 0, {}, "fvttt"),
        (5, 4, {}, "fftvt"),
        (8, 0, {"concept 1": "validation", "concept 2": "unseen_combination"}, "tvctttft"),
    ],
)
def test_folders_stay_where_they_were_recorded(count, seed, given, recorded):
    names = [f"concept {i}" for i in range(count)]
    assert "".join(LETTERS[split] for split in split_folders(names, LENGTHS, given, seed).values()) == recorded


def parts(count, sets, shares, least):
    """A letter a photo: t train, v validation, T test."""
    digests = [sha256(f"photo {i}") for i in range(count)]
    chosen = parts_of([sorted(digests[i] for i in photos) for photos in sets], shares, least)
    assert set(chosen) == {digests[i] for photos in sets for i in photos}
    return "".join({"train": "t", "validation": "v", "test": "T"}[chosen[digest]] for digest in digests)


def shares(test, validation=0.1):
    return {"test": test, "validation": validation}


ONE_EACH = dict.fromkeys(("train", "validation", "test"), 1)


@pytest.mark.parametrize(
    ("count", "test", "validation", "recorded"),
    [
        (20, 0.3, 0.1, "tttttvtttTvtTTtTTtTt"),
        (20, 0.05, 0.2, "tttttttttTttvvttvtvt"),
        (3, 0.001, 0.001, "Ttv"),
        (3, 0.5, 0.499, "Ttv"),
    ],
)
def test_photos_of_one_pool_stay_where_they_were_recorded(count, test, validation, recorded):
    assert parts(count, [range(count)], shares(test, validation), ONE_EACH) == recorded


@pytest.mark.parametrize(
    ("test", "recorded"),
    [(0.3, "vttTtTvtvTTtTTtvTvTtvvTt"), (0.02, "vttTtTvtvTTtvttvTvTtvvTt"), (0.8, "TvTTtTvtvTTtTTtvTvTtvvTt")],
)
def test_photos_that_premade_concepts_share_stay_where_they_were_recorded(test, recorded):
    sets = [range(0, 12), range(6, 14), range(14, 20), range(18, 24), range(3, 9)]
    least = {"train": 2, "validation": 2, "test": 2}
    found = parts(24, sets, shares(test), least)
    assert found == recorded
    for photos in sets:
        assert all("".join(found[i] for i in photos).count(letter) >= 2 for letter in "tvT")


def test_test_photos_are_those_of_before_there_was_validation():
    """A photo's place decides, so that a third part takes none of the test photos away."""
    without = parts(200, [range(200)], shares(0.3, 1e-9), ONE_EACH)
    with_validation = parts(200, [range(200)], shares(0.3, 0.2), ONE_EACH)
    assert [i for i in range(200) if without[i] == "T"] == [i for i in range(200) if with_validation[i] == "T"]
    assert 20 < with_validation.count("v") < 60

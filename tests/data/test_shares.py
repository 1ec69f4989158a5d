"""Splits of the user's own concepts: stable, told where told, never too small."""

from collections import Counter

import pytest

from weightgen.data.shares import assign, position, read_told
from weightgen.errors import DataError

SHARES = {"train": 0.7, "validation": 0.1, "unseen_combination": 0.0, "unseen_factor": 0.2}
NAMES = [f"concept {i}" for i in range(400)]


def test_a_concepts_place_decides_its_split():
    chosen = assign(NAMES, SHARES, {})
    for name in NAMES:
        place = position(name)
        expected = "train" if place < 0.7 else "validation" if place < 0.8 else "unseen_factor"
        assert chosen[name] == expected
    counts = Counter(chosen.values())
    assert 240 < counts["train"] < 320  # binomial: mean 280, deviation 9
    assert counts["unseen_combination"] == 0


def test_adding_concepts_moves_no_other():
    few, many = assign(NAMES[:40], SHARES, {}), assign(NAMES, SHARES, {})
    assert all(many[name] == split for name, split in few.items())


def test_what_is_told_goes_before_and_small_sets_still_fill_every_split():
    for count in range(4, 12):
        chosen = assign(NAMES[:count], SHARES, {NAMES[1]: "validation"})
        sizes = Counter(chosen.values())
        assert chosen[NAMES[1]] == "validation"
        assert sizes["train"] >= 2
        assert sizes["unseen_factor"] >= 1
        assert list(chosen) == NAMES[:count]


@pytest.mark.parametrize(
    ("names", "shares", "given", "said"),
    [
        (NAMES[:3], SHARES, {}, r"3 concept.* need 4 .*train 2, validation 1.*add 1 more.*validation=0"),
        (NAMES, {"train": 1, "tests": 1}, {}, "unknown split tests"),
        (NAMES, {"train": 0, "unseen_factor": 1}, {}, "train some"),
        (NAMES, {"train": -1, "validation": 2}, {}, "0 or more"),
        (NAMES[:4], SHARES, dict.fromkeys(NAMES[:4], "train"), "tell fewer"),
    ],
)
def test_what_cannot_be_split_says_why(names, shares, given, said):
    with pytest.raises(DataError, match=said):
        assign(names, shares, given)


def test_a_csv_tells_prompts_and_splits(tmp_path):
    file = tmp_path / "concepts.csv"
    file.write_text("concept,prompt,split\noil,an oil painting,train\nink,,unseen_factor\n")
    told = read_told(file)
    assert told.prompts == {"oil": "an oil painting"}
    assert told.splits == {"oil": "train", "ink": "unseen_factor"}
    file.write_text("concept,split\noil,train\noil,train\n")
    with pytest.raises(DataError, match="'oil' is there twice"):
        read_told(file)
    file.write_text("name,split\noil,train\n")
    with pytest.raises(DataError, match="give columns concept"):
        read_told(file)
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        read_told(tmp_path / "nowhere.csv")

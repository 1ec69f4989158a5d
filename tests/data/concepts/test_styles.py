"""Prompts of painterly styles: what they mean, and splits that leak nothing."""

import pytest

from weightgen.data.concepts.styles import EQUAL, STYLES, TOUCH, StyleConcepts, style_weights
from weightgen.errors import DataError


def test_every_style_and_mixture_says_what_it_means():
    assert len(set(STYLES)) == 26
    for number, style in enumerate(STYLES):
        assert style_weights(style) == {number: 1.0}
    assert style_weights(TOUCH.format(STYLES[19], STYLES[22])) == {19: 0.7, 22: 0.3}
    assert style_weights(EQUAL.format(STYLES[0], STYLES[9])) == {0: 0.5, 9: 0.5}  # whose names have an "and" themselves
    # Words that no other name has all of will do.
    assert style_weights("stormy blue swirls with a touch of red cubism") == {19: 0.7, 22: 0.3}
    assert style_weights("orange pastels and bubbles in equal parts") == {0: 0.5, 6: 0.5}
    assert style_weights("autumn impasto") == {5: 1.0}


@pytest.mark.parametrize(
    "prompt",
    [
        "pencil sketch in sepia tones",
        "",
        "stormy blue swirls with a touch of",
        "violet",  # two have it
        "embers with a touch of dark red embers",
        "embers with a touch of bubbles with a touch of shards",
    ],
)
def test_other_prompts_are_refused_with_an_example(prompt):
    with pytest.raises(DataError, match="name a style such as 'stormy blue swirls'"):
        style_weights(prompt)


@pytest.mark.parametrize(
    ("counts", "seed"), [((60, 6, 8, 8), 0), ((6, 2, 2, 2), 0), ((6, 2, 2, 2), 7), ((200, 20, 20, 40), 1)]
)
def test_splits_hold_what_they_say(counts, seed):
    concepts = StyleConcepts(*counts, seed=seed).load()
    by_split = {}
    for concept in concepts:
        by_split.setdefault(concept.split, []).append(frozenset(style_weights(concept.prompt)))
    assert tuple(map(len, by_split.values())) == counts
    assert len({concept.prompt for concept in concepts}) == len({c.name for c in concepts}) == sum(counts)
    seen = {style for styles in by_split["train"] for style in styles}
    for split in ("validation", "unseen_combination"):
        for styles in by_split[split]:
            assert len(styles) == 2
            assert styles <= seen
            assert styles not in by_split["train"]
    assert not set(by_split["validation"]) & set(by_split["unseen_combination"])
    assert all(styles - seen for styles in by_split["unseen_factor"])
    assert StyleConcepts(*counts, seed=seed).load() == concepts


def test_train_may_be_all_that_is_left_and_too_many_are_one_line():
    concepts = StyleConcepts(None, 6, 8, 8).load()
    # 22 styles alone, and three mixtures of each of their 231 pairs but 14
    assert sum(concept.split == "train" for concept in concepts) == 22 + 3 * (231 - 14)
    with pytest.raises(DataError, match=r"concepts\.unseen_factor=500: of these styles there are 92"):
        StyleConcepts(None, 6, 8, 500).load()
    with pytest.raises(DataError, match=r"concepts\.validation=9"):
        StyleConcepts(4, 9, 2, 2).load()

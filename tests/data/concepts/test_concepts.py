"""Concepts: what is valid, how the grammar splits, what the parser reads."""

from collections import Counter

import pytest

from weightgen.data.concepts.concept import Concept, slug
from weightgen.data.concepts.grammar import GrammarConcepts
from weightgen.data.concepts.list import ListConcepts
from weightgen.data.concepts.vocabulary import MEDIA, PALETTES, css_colours, duotone_key, parse_prompt
from weightgen.data.splits import SPLITS
from weightgen.errors import DataError

HELD_MEDIA, HELD_PALETTES = 3, 6
SEEN_MEDIA, SEEN_PALETTES = len(MEDIA) - HELD_MEDIA, len(PALETTES) - HELD_PALETTES
SEEN = SEEN_MEDIA * SEEN_PALETTES


def grammar(train=None, validation=10, unseen_combination=12, unseen_factor=20, seed=0, **held):
    held = {"holdout_media": HELD_MEDIA, "holdout_palettes": HELD_PALETTES, **held}
    return GrammarConcepts(train, validation, unseen_combination, unseen_factor, seed, **held).load()


def split(concepts, name):
    return [c for c in concepts if c.split == name]


def values(concepts, kind):
    return {dict(c.factors)[kind] for c in concepts}


@pytest.fixture(scope="module")
def everything():
    return grammar()


def test_vocabulary_is_large_enough_and_unambiguous():
    assert len(MEDIA) >= 14
    assert len(PALETTES) >= 24
    for factors in (MEDIA, PALETTES):
        said = [phrase for f in factors for phrase in (f.phrase, *f.paraphrases)]
        assert len(set(said)) == len(said)
        assert len({f.key for f in factors}) == len(factors)
        assert all(len(f.paraphrases) >= 2 for f in factors)


def test_duotones_of_the_vocabulary_are_in_canonical_order():
    for p in PALETTES:
        if p.key.startswith("duotone:"):
            assert duotone_key(*p.key.split(":")[1:]) == p.key


def test_grammar_counts_add_up(everything):
    counts = Counter(c.split for c in everything)
    assert counts == {"train": SEEN - 22, "validation": 10, "unseen_combination": 12, "unseen_factor": 20}


def test_grammar_names_prompts_and_factors_are_unique(everything):
    for field in ("name", "prompt", "factors"):
        assert len({getattr(c, field) for c in everything}) == len(everything)


def test_unseen_factor_always_has_a_factor_that_no_other_split_has(everything):
    known = [c for c in everything if c.split != "unseen_factor"]
    media, palettes = values(known, "medium"), values(known, "palette")
    assert (len(media), len(palettes)) == (SEEN_MEDIA, SEEN_PALETTES)
    kinds = set()
    for c in split(everything, "unseen_factor"):
        new = (dict(c.factors)["medium"] not in media, dict(c.factors)["palette"] not in palettes)
        assert any(new)
        kinds.add(new)
    assert len(kinds) >= 2  # not only new media, not only new palettes


@pytest.mark.parametrize("seed", range(5))
def test_smallest_train_shows_every_factor_and_never_an_evaluated_pair(seed):
    concepts = grammar(train=max(SEEN_MEDIA, SEEN_PALETTES), validation=60, unseen_combination=60, seed=seed)
    train = split(concepts, "train")
    assert len(values(train, "medium")) == SEEN_MEDIA
    assert len(values(train, "palette")) == SEEN_PALETTES
    for name in ("validation", "unseen_combination"):
        assert not {c.factors for c in train} & {c.factors for c in split(concepts, name)}
        for kind in ("medium", "palette"):
            assert values(split(concepts, name), kind) <= values(train, kind)


def test_larger_train_contains_smaller_and_moves_no_other_split():
    small, large = grammar(train=60), grammar(train=200)
    assert {c.name for c in split(small, "train")} < {c.name for c in split(large, "train")}
    for name in SPLITS[1:]:
        assert split(small, name) == split(large, name)


def test_same_seed_same_concepts_other_seed_others():
    assert grammar(train=60, seed=3) == grammar(train=60, seed=3)
    assert grammar(train=60, seed=3) != grammar(train=60, seed=4)


def test_order_is_the_one_recorded_for_every_platform():
    assert [c.name for c in split(grammar(train=60), "unseen_factor")][:3] == [
        "outlines-duotone-olive-lavender",
        "glass-duotone-purple-ivory",
        "fog-duotone-black-dodgerblue",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"train": SEEN - 21}, str(SEEN - 22)),
        ({"train": 5}, str(max(SEEN_MEDIA, SEEN_PALETTES))),
        ({"validation": SEEN}, str(SEEN)),
        ({"unseen_factor": 10_000}, str(len(MEDIA) * len(PALETTES) - SEEN)),
        ({"unseen_factor": 1, "holdout_media": 0, "holdout_palettes": 0}, "give 0"),
        ({"holdout_media": len(MEDIA)}, str(len(MEDIA) - 2)),
        ({"validation": -1}, "validation=-1"),
    ],
)
def test_asking_for_the_impossible_says_what_is_possible(arguments, told):
    with pytest.raises(DataError, match=told):
        grammar(**arguments)


def test_every_prompt_and_paraphrase_parses_back_to_its_factors(everything):
    for c in everything:
        assert len(c.paraphrases) == 8
        assert {parse_prompt(text) for text in (c.prompt, *c.paraphrases)} == {c.factors}


@pytest.mark.parametrize(
    ("prompt", "factors"),
    [
        ("a mosaic", (("medium", "mosaic"),)),
        ("Sepia-toned picture", (("palette", "sepia"),)),
        ("MOSAIC, in Crimson and Teal!", (("medium", "mosaic"), ("palette", "duotone:crimson:teal"))),
        ("mosaic in teal and crimson", (("medium", "mosaic"), ("palette", "duotone:crimson:teal"))),
        ("in rebeccapurple and light goldenrod yellow", (("palette", "duotone:rebeccapurple:lightgoldenrodyellow"),)),
        ("dark gray and white watercolour wash", (("medium", "watercolor"), ("palette", "duotone:darkgrey:white"))),
        ("woodcut print in black and white", (("medium", "woodcut"), ("palette", "monochrome"))),
    ],
)
def test_parser_reads_by_hand(prompt, factors):
    assert parse_prompt(prompt) == factors


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("zombie mosaic", "zombie"),
        ("mosaic in red", "'red'"),
        ("red and red", "'red', 'red'"),
        ("水墨画", "水墨画"),
        ("in the style of", "anything"),
        ("sepia mosaic in neon colours", "neon, sepia"),
        ("pencil sketch, pixel art", "pencil, pixel"),
    ],
)
def test_parser_names_what_it_does_not_understand(prompt, named):
    with pytest.raises(DataError, match=named):
        parse_prompt(prompt)


def test_css_colours_hold_the_names_of_the_standard():
    assert css_colours()["rebeccapurple"] == (0x66, 0x33, 0x99)
    assert len(css_colours()) == 148 - 7  # seven greys are spelled twice


@pytest.mark.parametrize("prompt", ["Zombie", "水墨画", "مدينة عند الغسق", "👩‍🎨 at work", "x" * 1000])
def test_free_prompts_are_fine(prompt):
    (concept,) = ListConcepts([{"prompt": prompt, "split": "train"}]).load()
    assert concept == Concept(slug(prompt), prompt, "train")


@pytest.mark.parametrize(
    ("name", "prompt", "where"),
    [
        ("ok", "   ", "train"),
        ("ok", "x" * 1001, "train"),
        ("ok", "two\nlines", "train"),
        ("ok", "null\0", "train"),
        ("ok", "lone \ud800", "train"),
        ("ok", "fine", "test"),
        ("ok", None, "train"),
        ("../up", "fine", "train"),
        ("", "fine", "train"),
        ("a" * 81, "fine", "train"),
        ("line\n", "fine", "train"),
    ],
)
def test_bad_concepts_are_refused(name, prompt, where):
    with pytest.raises(DataError):
        Concept(name, prompt, where)


def test_slug_is_short_ascii_and_tells_prompts_apart():
    # first 8 hex digits of sha256, as sha256sum prints them
    assert slug("Grey hair") == "grey-hair-80429896"
    assert slug("水墨画") == "concept-6cac60ba"
    assert slug("../../etc/passwd").startswith("etc-passwd-")
    assert len(slug("word " * 200)) <= 80
    assert slug("Batik") != slug("batik")


def test_list_concepts_takes_names_paraphrases_and_factors():
    first, second = ListConcepts(
        [
            {"prompt": "Batik", "split": "unseen_factor", "name": "batik", "paraphrases": ["wax-dyed cloth"]},
            {"prompt": "mosaic in sepia", "split": "train"},
        ]
    ).load()
    assert first == Concept("batik", "Batik", "unseen_factor", ("wax-dyed cloth",))
    assert second.factors == (("medium", "mosaic"), ("palette", "sepia"))


@pytest.mark.parametrize(
    ("items", "named"),
    [
        ([], "empty"),
        ([{"prompt": "Batik"}], "concept number 0 of the list"),
        ([{"prompt": "Batik", "split": "train", "promt": "x"}], "promt"),
        (["Batik"], "Batik"),
        ([{"prompt": None, "split": "train"}], "blank"),
        ([{"prompt": "Batik", "split": "train"}] * 2, "given twice"),
        ([{"prompt": p, "split": "train", "name": "same"} for p in ("a", "b")], "'same'"),
    ],
)
def test_bad_lists_are_refused(items, named):
    with pytest.raises(DataError, match=named):
        ListConcepts(items).load()

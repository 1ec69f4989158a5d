from weightgen.evaluation.methods import colour, label, ordered


def test_order_is_canonical_with_variants_beside_their_stem():
    names = ["trained", "zebra", "generated_steps5", "generated", "apple", "pix2pix", "ridge", "ridge"]
    assert ordered(names) == [
        "pix2pix",
        "ridge",
        "apple",
        "zebra",
        "generated",
        "generated_steps5",
        "trained",
    ]


def test_a_colour_belongs_to_a_name():
    assert colour("generated") == "#d7301f"
    assert colour("zebra") == colour("zebra") != colour("generated")
    assert len({colour(name) for name in ("pix2pix", "e2gan", "mean", "nearest", "ridge", "generated")}) == 6


def test_labels():
    assert label("nearest") == "nearest in text space"
    assert label("generated_steps5") == "generated (ours): steps5"
    assert label("zebra") == "zebra"

from weightgen.evaluation.methods import colour, label, ordered, ours, pictured

RIVALS = [
    "pix2pix_zero_distilled",
    "pix2pix",
    "e2gan",
    "text_base",
    "mean",
    "nearest",
    "nearest_k",
    "noised_nearest",
    "ridge",
    "mlp",
    "pca_gaussian",
    "few_steps",
    "generated",
    "trained",
]


def test_every_rival_has_its_place():
    assert ordered(reversed(RIVALS)) == RIVALS
    assert ordered(["ridge", "nearest_k_7", "nearest_noisy", "nearest_k", "nearest"]) == [
        "nearest",
        "nearest_noisy",
        "nearest_k",
        "nearest_k_7",
        "ridge",
    ]


def test_order_is_canonical_with_variants_beside_their_stem():
    names = ["trained", "zebra", "generated_steps5", "generated", "apple", "pix2pix", "ridge", "ridge"]
    assert ordered(names) == ["pix2pix", "ridge", "apple", "zebra", "generated", "generated_steps5", "trained"]


def test_a_colour_belongs_to_a_name():
    assert colour("generated") == "#d7301f"
    assert colour("zebra") == colour("zebra") != colour("generated")
    assert len({colour(name) for name in RIVALS}) == len(RIVALS)


def test_labels():
    assert label("nearest") == "nearest in text space"
    assert label("generated_steps5") == "generated (ours): steps5"
    assert label("zebra") == "zebra"
    assert label("nearest_k") == "softmax of the k nearest"
    assert label("nearest_k_7") == "softmax of the k nearest: 7"


def test_ours_start_from_generated_weights():
    names = [
        *RIVALS,
        "generated_few_steps",
        "guided",
        "generated_shuffled",
        "generated_gibberish",
        "generated_steps5",
        "guided_rounds2",
    ]
    assert {name: way for name in names if (way := ours(name))} == {
        "generated": "generated",
        "generated_few_steps": "generated_few_steps",
        "guided": "guided",
        "generated_shuffled": "generated",
        "generated_gibberish": "generated",
        "generated_steps5": "generated",
        "guided_rounds2": "guided",
    }


def test_a_grid_shows_the_telling_methods_and_fills_up_with_others():
    names = [
        "mean",
        "ridge",
        "generated",
        "trained",
        "nearest",
        "e2gan",
        "pix2pix",
        "few_steps",
        "mlp",
        "generated_few_steps",
    ]
    assert pictured(names) == [
        "pix2pix",
        "e2gan",
        "nearest",
        "few_steps",
        "generated",
        "generated_few_steps",
        "trained",
    ]
    assert pictured(["mlp", "trained", "mean"]) == ["mean", "mlp", "trained"]

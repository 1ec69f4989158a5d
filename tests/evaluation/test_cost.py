import math

import pytest

from weightgen.evaluation.cost import COST_COLUMNS, break_even, cost_table


@pytest.mark.parametrize(
    ("fixed", "ours", "rival", "concepts"),
    [
        (1000, 10, 30, 50),
        (1000, 10, math.inf, 0),
        (1000, 30, 10, math.inf),
        (1000, 10, 10, math.inf),
        (0, 10, 10, 0),
        (-5, 1, 2, 0),
        (-5, 2, 1, math.inf),
        (1000, math.inf, math.inf, math.inf),
    ],
)
def test_break_even(fixed, ours, rival, concepts):
    assert break_even(fixed, ours, rival) == concepts


def test_undefined_seconds_are_refused():
    for bad in ((0, -1, 1), (0, 1, math.nan), (math.nan, 1, 1)):
        with pytest.raises(ValueError, match="seconds"):
            break_even(*bad)


def test_table():
    fixed = {"generated": 2300.0, "e2gan": 300.0}
    rows = cost_table("generated", fixed, {"pix2pix": 60.0, "e2gan": 30.0, "mean": None, "generated": 10.0})
    assert [(row["rival"], row["break_even_concepts"]) for row in rows] == [
        ("pix2pix", 46.0),
        ("e2gan", 100.0),
        ("mean", 0.0),
    ]
    assert tuple(rows[0]) == COST_COLUMNS
    with pytest.raises(ValueError, match="ours"):
        cost_table("ours", fixed, {"e2gan": 1.0})

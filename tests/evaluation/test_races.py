"""races: speed-ups on hand-made curves."""

import math

import pytest

from weightgen.evaluation.comparisons import RACE_COLUMNS, races, summarize
from weightgen.evaluation.curves import Curve, collect
from weightgen.evaluation.results import ResultRow


def curve(
    method: str, points: list[tuple[int, float, float]], seed: int = 0, base: str = "all", device: str = "cpu"
) -> list[ResultRow]:
    return [
        ResultRow(
            experiment="e",
            base=base,
            concept="c",
            prompt="p",
            split="unseen_factor",
            method=method,
            seed=seed,
            step=step,
            train_seconds=seconds,
            fid=fid,
            kid=0.0,
            l1=0.1,
            feature_set="f",
            device=device,
            perceptual=0.0,
            mmd=0.0,
        )
        for step, seconds, fid in points
    ]


def table(rows: list[ResultRow]) -> dict[tuple[str, str], dict]:
    return {(row["target"], row["method"]): row for row in races(collect(rows), bootstrap=200)}


def test_speedup_is_the_ratio_of_seconds_to_the_targets_last_fid() -> None:
    rows = curve("pix2pix", [(0, 0.0, 100), (10, 10.0, 50), (20, 20.0, 30)], base="none")
    rows += curve("e2gan", [(0, 0.0, 90), (10, 8.0, 40), (20, 16.0, 35)])
    rows += curve("generated", [(0, 0.5, 60), (10, 4.0, 33), (20, 8.0, 29)])
    found = table(rows)
    assert found["pix2pix", "pix2pix"]["speedup"] == 1
    # log FID against log seconds is a line between two evaluations
    to_30 = 4 * 2 ** (math.log(33 / 30) / math.log(33 / 29))
    to_35 = 0.5 * 8 ** (math.log(60 / 35) / math.log(60 / 33))
    assert found["pix2pix", "generated"]["seconds_to_target"] == pytest.approx(to_30)
    assert found["pix2pix", "generated"]["speedup"] == pytest.approx(20 / to_30)
    assert found["e2gan", "generated"]["speedup"] == pytest.approx(16 / to_35)
    assert found["pix2pix", "e2gan"]["speedup"] is None  # never
    assert found["pix2pix", "e2gan"]["seconds_to_target"] is None
    assert tuple(found["pix2pix", "e2gan"]) == RACE_COLUMNS
    assert found["pix2pix", "e2gan"]["censored"] == 1
    assert found["pix2pix", "generated"]["speedup_low"] == pytest.approx(20 / to_30)  # one run: no spread


def test_the_interval_spans_the_runs_that_differ() -> None:
    rows: list[ResultRow] = []
    for seed, seconds in enumerate((1.0, 2.0, 5.0)):
        rows += curve("pix2pix", [(0, 0.0, 100), (10, 10.0, 50)], seed, base="none")
        rows += curve("generated", [(0, 0.1, 90), (10, seconds, 50)], seed)
    row = table(rows)["pix2pix", "generated"]
    assert row["speedup"] == 5
    assert (row["speedup_low"], row["speedup_high"]) == (2, 10)


def test_text_base_is_compared_under_the_base_of_the_others() -> None:
    rows = curve("e2gan", [(0, 0.0, 90), (10, 8.0, 40)], base="representative")
    rows += curve("text_base", [(0, 0.0, 45), (10, 2.0, 40)], base="all")
    found = races(collect(rows), bootstrap=50)
    assert {row["base"] for row in found} == {"representative"}
    assert {row["method"]: row["speedup"] for row in found}["text_base"] == 4


def test_never_means_the_same_in_every_table() -> None:
    """Of two runs one arrives, at twice the speed: the middle is not reached, whatever a mean of 2 and 0 would say."""
    rows = []
    for seed, last in enumerate((50.0, 51.0)):
        rows += curve("pix2pix", [(0, 0.0, 100), (10, 10.0, 50)], seed, base="none")
        rows += curve("generated", [(0, 0.1, 90), (10, 5.0, last)], seed)
    row = table(rows)["pix2pix", "generated"]
    (summary,) = [row for row in summarize(collect(rows), bootstrap=0) if row["method"] == "generated"]
    for figures in (row, summary):
        assert (figures["seconds_to_target"], figures["speedup"], figures["censored"]) == (None, None, 1)
    assert (row["speedup_low"], row["speedup_high"]) == (0, 2)


@pytest.mark.parametrize(
    ("fid", "seconds"),
    [
        (100, 1.0),  # there from the start
        (50, 10.0),  # an evaluation
        (70.71067811865476, 10**0.5),  # half of the way in both logarithms
        (25, 100.0),
        (35.35533905932738, 10**1.5),
        (24, math.inf),  # censored
    ],
)
def test_time_to_a_fid_on_a_hand_made_curve(fid, seconds) -> None:
    """FID 100, 50, 50, 25 after 1, 10, 10, 100 s: on log axes a line between two evaluations."""
    made = Curve(tuple(curve("e2gan", [(0, 1.0, 100), (1, 10.0, 50), (2, 10.0, 50), (3, 100.0, 25)])))
    assert made.seconds_to(fid) == pytest.approx(seconds)


def test_the_first_crossing_counts() -> None:
    made = Curve(tuple(curve("e2gan", [(0, 1.0, 100), (1, 2.0, 40), (2, 4.0, 80), (3, 8.0, 20)])))
    assert made.seconds_to(40) == 2.0
    assert made.seconds_to(39.999) == pytest.approx(4 * 2 ** (math.log(80 / 39.999) / math.log(80 / 20)))


def test_a_start_in_no_time_is_not_infinitely_fast() -> None:
    rows = curve("pix2pix", [(0, 0.0, 30), (10, 10.0, 30)], base="none")
    rows += curve("generated", [(0, 0.0, 20), (10, 10.0, 20)])
    assert {row["speedup"] for row in table(rows).values()} == {1.0}


def test_no_speedup_between_devices() -> None:
    rows = curve("pix2pix", [(0, 0.0, 100), (10, 10.0, 50)], base="none")
    rows += curve("generated", [(0, 0.1, 90), (10, 1.0, 40)], device="NVIDIA H100")
    row = table(rows)["pix2pix", "generated"]
    assert (row["speedup"], row["speedup_low"], row["speedup_high"]) == (None, None, None)
    assert row["seconds_to_target"] < 1

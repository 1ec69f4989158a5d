"""races: speed-ups on hand-made curves."""

import pytest

from weightgen.evaluation.comparisons import RACE_COLUMNS, races, summarize
from weightgen.evaluation.curves import collect
from weightgen.evaluation.results import ResultRow


def curve(method: str, points: list[tuple[int, float, float]], seed: int = 0, base: str = "all") -> list[ResultRow]:
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
            device="cpu",
            perceptual=0.0,
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
    assert found["pix2pix", "generated"]["speedup"] == pytest.approx(20 / 8)
    assert found["e2gan", "generated"]["speedup"] == pytest.approx(16 / 4)
    assert found["pix2pix", "e2gan"]["speedup"] is None  # never
    assert found["pix2pix", "e2gan"]["seconds_to_target"] is None
    assert tuple(found["pix2pix", "e2gan"]) == RACE_COLUMNS
    assert found["pix2pix", "e2gan"]["never_reached"] == 1
    assert found["pix2pix", "generated"]["speedup_low"] == pytest.approx(2.5)  # one run: no spread


def test_the_interval_spans_the_runs_that_differ() -> None:
    rows: list[ResultRow] = []
    for seed, seconds in enumerate((1.0, 2.0, 5.0)):
        rows += curve("pix2pix", [(0, 0.0, 100), (10, 10.0, 50)], seed, base="none")
        rows += curve("generated", [(0, 0.1, 90), (10, seconds, 40)], seed)
    row = table(rows)["pix2pix", "generated"]
    assert row["speedup"] == 5
    assert (row["speedup_low"], row["speedup_high"]) == (2, 10)


def test_text_base_is_compared_under_the_base_of_the_others() -> None:
    rows = curve("e2gan", [(0, 0.0, 90), (10, 8.0, 40)], base="representative")
    rows += curve("text_base", [(0, 0.0, 45), (10, 2.0, 39)], base="all")
    found = races(collect(rows), bootstrap=50)
    assert {row["base"] for row in found} == {"representative"}
    assert {row["method"]: row["speedup"] for row in found}["text_base"] == 4


def test_never_means_the_same_in_every_table() -> None:
    """Of two runs one arrives, at twice the speed: the middle is not reached, whatever a mean of 2 and 0 would say."""
    rows = []
    for seed, last in enumerate((49.0, 51.0)):
        rows += curve("pix2pix", [(0, 0.0, 100), (10, 10.0, 50)], seed, base="none")
        rows += curve("generated", [(0, 0.1, 90), (10, 5.0, last)], seed)
    row = table(rows)["pix2pix", "generated"]
    (summary,) = [row for row in summarize(collect(rows), bootstrap=0) if row["method"] == "generated"]
    for figures in (row, summary):
        assert (figures["seconds_to_target"], figures["speedup"], figures["never_reached"]) == (None, None, 1)
    assert (row["speedup_low"], row["speedup_high"]) == (0, 2)

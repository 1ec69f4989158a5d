"""The comparison that all reports show: what follows from what its methods need."""

import pytest

from experiments.reports.gather import fixed_seconds
from weightgen.evaluation.results import read_numbers

SPENT = {"pairs": 1.0, "base": 10.0, "zoo": 100.0, "denoiser": 1000.0, "guide": 10000.0}


@pytest.mark.parametrize(
    ("needs", "seconds"),
    [
        ({"scratch"}, 0.0),
        ({"base"}, 11.0),
        ({"base", "pairs"}, 11.0),
        ({"own"}, 11.0),
        ({"zoo"}, 111.0),
        ({"zoo", "validation"}, 111.0),
        ({"generator"}, 1111.0),
        ({"generator", "pairs"}, 1111.0),
        ({"generator", "guide", "pairs"}, 11111.0),
    ],
)
def test_a_method_is_charged_what_it_is_made_from(needs: set[str], seconds: float) -> None:
    assert fixed_seconds(frozenset(needs), {f"{part}_seconds": s for part, s in SPENT.items()}) == seconds


def test_novelty_is_there_for_every_start_that_is_built_on_the_zoo(smoke, tmp_path) -> None:
    """`guided` needs the generator and the guide: the only method here that is built on the zoo."""
    smoke("evaluate", "methods=[e2gan,guided,trained]", "logger=csv", "strategy.workers=1", f"paths.reports={tmp_path}")
    novelty = read_numbers(tmp_path / "smoke" / "novelty.csv")
    assert {row["method"] for row in novelty} == {"guided", "trained"}
    assert all(row["nearest_distance"] > 0 for row in novelty)
    own = [row["weight_error"] for row in novelty if row["method"] == "trained"]
    assert own == [0.0] * len(own)
    assert "## Novelty of the generated weights" in (tmp_path / "smoke" / "report.md").read_text()
    assert (tmp_path / "smoke" / "novelty.png").stat().st_size > 1000
    assert read_numbers(tmp_path / "smoke" / "cost.csv") == []  # the break-even is that of `generated`

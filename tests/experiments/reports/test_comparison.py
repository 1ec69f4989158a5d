"""The comparison that all reports show: what follows from what its methods need."""

from weightgen.evaluation.results import read_numbers


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

"""A comparison as plain data for a page."""

from pathlib import Path
from typing import Any

from experiments.reports.comparison import Comparison
from experiments.reports.page.images import image_grid
from experiments.reports.weights import weight_histograms
from weightgen.evaluation.methods import OURS, colour, label

DOCUMENTS = {
    "report.md": "report",
    "results.csv": "every evaluation",
    "summary.csv": "summary",
    "wins.csv": "wins",
    "races.csv": "races",
    "cost.csv": "cost",
    "novelty.csv": "novelty",
    "curves.png": "curves",
    "grid.png": "images",
}


def recipe_content(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """What the page shows of one recipe, whose report lies in `folder`."""
    tables = ("summary", "wins", "races", "cost", "novelty", "curves", "per_concept")
    return {
        "name": comparison.recipe,
        "feature_set": comparison.feature_set,
        "devices": comparison.values("device"),
        "concepts": len(comparison.values("concept")),
        "seeds": comparison.values("seed"),
        "groups": comparison.groups,
        "methods": [
            {"name": name, "label": label(name), "colour": colour(name), "ours": name == OURS}
            for name in comparison.methods
        ],
        "metrics": comparison.metrics,
        **{name: getattr(comparison, name) for name in tables},
        "images": image_grid(comparison.samples),
        "weights": weight_histograms(comparison),
        "stages": [
            {"name": node.name, "artifacts": [list(one.values()) for one in node.artifacts]}
            for node in comparison.stages
        ],
        "links": [
            {"title": title, "href": f"../{folder.name}/{name}"}
            for name, title in DOCUMENTS.items()
            if (folder / name).is_file()
        ],
    }

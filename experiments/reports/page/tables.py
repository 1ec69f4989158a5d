"""What reports/<recipe>/ says, as plain data for a page: curves, tables, wins, races, cost, novelty."""

import math
from pathlib import Path
from typing import Any

from weightgen.errors import DataError
from weightgen.evaluation.bands import METRICS, band, per_concept
from weightgen.evaluation.methods import OURS, colour, label, ordered
from weightgen.evaluation.results import read_results, read_table
from weightgen.evaluation.summary import collect

TABLES = ("summary", "wins", "races", "cost", "novelty")
TEXT = frozenset(
    ["base", "split", "method", "rival", "point", "metric", "target", "concept", "nearest", "prompt"]
)  # columns that are never numbers, whatever a concept is called
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


def recipe_content(folder: Path, bootstrap: int = 1000) -> dict[str, Any]:
    """Everything in reports/<recipe>/*.csv, JSON-ready.

    Raises DataError where results.csv is missing or any table was cut or edited.
    """
    rows = read_results(folder / "results.csv")
    if not rows:
        raise DataError(f"{folder}/results.csv has no rows: run `make evaluate EXP={folder.name}`")
    groups = collect(rows)
    content: dict[str, Any] = {
        "name": folder.name,
        "feature_set": rows[0]["feature_set"],
        "devices": sorted({row["device"] for row in rows}),
        "concepts": len({row["concept"] for row in rows}),
        "seeds": sorted({row["seed"] for row in rows}),
        "groups": [list(group) for group in groups],
        "methods": [
            {"name": name, "label": label(name), "colour": colour(name), "ours": name == OURS}
            for name in ordered(row["method"] for row in rows)
        ],
        "metrics": [m for m in METRICS if all(math.isfinite(row[m]) for row in rows)],
        "curves": [],
        "per_concept": [],
    }
    for (base, split), methods in groups.items():
        head = {"base": base, "split": split}
        content["per_concept"] += [head | row for row in per_concept(methods)]
        for method, runs in methods.items():
            for metric in content["metrics"]:
                points = [
                    [p[k] for k in ("step", "seconds", "value", "low", "high")]
                    for p in band(runs, metric, bootstrap)
                ]
                content["curves"].append(head | {"method": method, "metric": metric, "points": points})
    content |= {name: numbers(folder / f"{name}.csv") for name in TABLES}
    content["links"] = [
        {"title": title, "href": f"../{folder.name}/{name}"}
        for name, title in DOCUMENTS.items()
        if (folder / name).is_file()
    ]
    return content


def numbers(path: Path) -> list[dict[str, Any]]:
    """The rows of a table of ours: numbers as numbers, empty cells None; [] where there is no such table."""
    if not path.is_file():
        return []
    return [
        {name: cell if name in TEXT else _number(path, name, cell) for name, cell in row.items()}
        for row in read_table(path)
    ]


def _number(path: Path, name: str, cell: str) -> float | int | None:
    if cell == "":
        return None
    try:
        value = float(cell)
    except ValueError as error:
        raise DataError(f"{path}: {name} is {cell!r}, which is no number: write it anew") from error
    return int(value) if value.is_integer() and "." not in cell and math.isfinite(value) else value


def reported(reports: Path) -> list[Path]:
    """Folders of recipes that have results, by name."""
    return sorted(path.parent for path in reports.glob("*/results.csv"))

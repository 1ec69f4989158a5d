"""One look at memorisation: quality of a weight set against its distance from the training sets (arXiv 2506.07998)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from weightgen.evaluation.methods import colour, label, ordered


def novelty_scatter(rows: Iterable[Mapping[str, Any]], path: str | Path) -> None:
    """rows: novelty rows with `l1_start`. A point per weight set, a colour per method, a panel per base.

    Left of the dashed line (the usual distance between training sets and their nearest neighbours) lie copies.
    """
    rows = list(rows)
    bases = list(dict.fromkeys(row["base"] for row in rows))
    figure = Figure(figsize=(6.4 * max(len(bases), 1), 5), layout="constrained")
    for panel, base in zip(figure.subplots(1, max(len(bases), 1), squeeze=False)[0], bases, strict=False):
        chosen = [row for row in rows if row["base"] == base]
        for method in ordered(row["method"] for row in chosen):
            points = [row for row in chosen if row["method"] == method]
            panel.scatter(
                [row["nearest_distance"] for row in points],
                [row["l1_start"] for row in points],
                s=22,
                alpha=0.75,
                color=colour(method),
                label=label(method),
            )
        panel.axvline(chosen[0]["train_distance"], color="#999999", linestyle="--", linewidth=1)
        panel.set_title(f"base: {base}")
        panel.set_xlabel("distance to the nearest training set (units of the zoo's spread)")
        panel.set_ylabel("L1 at step 0 (lower is better)")
        panel.set_yscale("log")
        panel.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)

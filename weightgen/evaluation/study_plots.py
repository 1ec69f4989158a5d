"""One figure per study: gap closed at step 0 against the axis, with intervals, beside the trivial rivals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weightgen.evaluation.methods import CEILING, FROM_SCRATCH, START, colour, label, ordered, ours
from weightgen.evaluation.plots import LEGEND_COLUMN
from weightgen.files import replacing

MARGIN = 0.6  # how far an interval may stretch the axis beyond the values


def study_figure(rows: Sequence[Mapping[str, Any]], path: str | Path, axis: str, title: str) -> None:
    """rows: value, base, split, method, gap_closed, gap_closed_low, gap_closed_high (None where unknown).

    A panel per base (down) and split (across), a colour per method over the values in the order of the rows, joined by
    lines where the values are numbers. Zero and the ceiling are 0 and 1 by definition, so both are levels. Intervals
    far beyond the values are cut at the frame.
    """
    values = list(dict.fromkeys(row["value"] for row in rows))
    bases, splits = (list(dict.fromkeys(row[name] for row in rows)) for name in ("base", "split"))
    shown = [row for row in rows if row["method"] not in (START, CEILING, FROM_SCRATCH)]
    names = ordered(row["method"] for row in shown)
    figure = Figure(figsize=(1.2 + 4.6 * len(splits), 1.3 + 3.3 * len(bases)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(bases), len(splits), sharex=True, sharey=True, squeeze=False)
    handles = {}
    for i, base in enumerate(bases):
        for j, split in enumerate(splits):
            panel: Axes = panels[i][j]
            chosen = [row for row in shown if (row["base"], row["split"]) == (base, split)]
            for k, name in enumerate(names):
                offset = 0.24 * ((k + 0.5) / len(names) - 0.5)
                handles[name] = _line(panel, [r for r in chosen if r["method"] == name], values, offset)
            where = split.replace("_", " ")
            panel.set_title(where if len(bases) == 1 else f"{base}, {where}", fontsize=11, loc="left")
            panel.axhline(0, color="#888888", linewidth=0.9, linestyle="--", zorder=1)
            panel.axhline(1, color=colour(CEILING), linewidth=1.6, linestyle=(0, (1, 1.5)), zorder=1)
            panel.set_xticks(range(len(values)), values)
            panel.grid(True, axis="y", color="#d9d9d9", linewidth=0.7)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylim(*_limits(shown))
    for panel in panels[-1]:
        panel.set_xlabel(axis)
    for panel in panels[:, 0]:
        panel.set_ylabel("gap closed at step 0 (L1)")
    figure.suptitle(f"{title}: 0 is {label(START)}, 1 the {label(CEILING)}", fontsize=10.5, x=0.01, ha="left")
    figure.legend(
        handles.values(),
        [label(name) for name in handles],
        loc="outside lower center",
        ncols=min(len(handles), int(figure.get_figwidth() / LEGEND_COLUMN)),
        frameon=False,
        fontsize=9,
    )
    with replacing(path) as aside:
        figure.savefig(aside, dpi=130, format="png", metadata={"Software": None})


def _line(panel: Axes, rows: Sequence[Mapping[str, Any]], values: Sequence[str], offset: float) -> Any:
    """One method's values with their intervals -> its legend handle."""
    points = [row for row in rows if row["gap_closed"] is not None]
    closed = [row["gap_closed"] for row in points]
    low, high = (
        [abs(row[end] - row["gap_closed"]) if row[end] is not None else 0.0 for row in points]
        for end in ("gap_closed_low", "gap_closed_high")
    )
    mine = any(ours(row["method"]) for row in rows)
    return panel.errorbar(
        [values.index(row["value"]) + offset for row in points],
        closed,
        yerr=[low, high],
        color=colour(rows[0]["method"]) if rows else "none",
        linestyle="-" if any(value.replace(".", "").isdigit() for value in values) else "none",
        linewidth=2.6 if mine else 1.5,
        elinewidth=1.6 if mine else 1.0,
        marker="o",
        markersize=5.5 if mine else 4,
        capsize=2.5,
        zorder=4 if mine else 3,
    )


def _limits(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    closed = [row["gap_closed"] for row in rows if row["gap_closed"] is not None]
    low, high = min([0.0, *closed]), max([1.0, *closed])
    ends = [row[end] for row in rows for end in ("gap_closed_low", "gap_closed_high")]
    known = [end for end in ends if end is not None]
    return (max(min([low, *known]), low - MARGIN) - 0.06, min(max([high, *known]), high + MARGIN) + 0.06)

"""Figures of a comparison, a study, a sweep. Matplotlib by its object interface only: no global state, no display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weightgen.evaluation.curves import METRICS
from weightgen.evaluation.methods import FROM_SCRATCH, OWN, START, colour, label, ordered, ours
from weightgen.files import replacing

INK, FAINT = "#222222", "#d9d9d9"
LEGEND_COLUMN = 2.8  # inches: what the longer labels take
GAP = "gap_closed"
MARGIN = 0.6  # how far an interval may stretch a study's axis beyond the values, in parts of the largest


def novelty_figure(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """rows: novelty rows with `l1_start`. A method's medians with their quartiles, a panel per base (down) and split.

    Left of the dashed line (the usual distance between training sets and their nearest neighbours) lie copies.
    """
    bases, splits = (list(dict.fromkeys(row[name] for row in rows)) for name in ("base", "split"))
    figure = new_figure(5.2 * len(splits), 0.8 + 4.2 * len(bases))
    panels = figure.subplots(len(bases), len(splits), sharex=True, sharey=True, squeeze=False)
    handles = {}
    for i, base in enumerate(bases):
        for j, split in enumerate(splits):
            panel: Axes = panels[i][j]
            chosen = [row for row in rows if (row["base"], row["split"]) == (base, split)]
            for method in ordered(row["method"] for row in chosen):
                pairs = [(row["nearest_distance"], row["l1_start"]) for row in chosen if row["method"] == method]
                low, middle, high = np.quantile(np.array(pairs), [0.25, 0.5, 0.75], axis=0)
                spread = [[[middle[k] - low[k]], [high[k] - middle[k]]] for k in (0, 1)]
                look = {"color": colour(method), "marker": "o", "markersize": 6.5 if ours(method) else 4.5}
                handles[method] = panel.errorbar(*middle, yerr=spread[1], xerr=spread[0], linewidth=1.2, **look)
            if chosen:
                panel.axvline(chosen[0]["train_distance"], color="#999999", linestyle="--", linewidth=1)
            panel_title(panel, base, split.replace("_", " "), bases)
            panel.set_yscale("log")
            panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[-1]:
        panel.set_xlabel("distance to the nearest training set (units of the zoo's spread)")
    for panel in panels[:, 0]:
        panel.set_ylabel("L1 at step 0 (lower is better)")
    names = {name: handles[name] for name in ordered(handles)}
    _legend(figure, names, max(1, int(figure.get_figwidth() / LEGEND_COLUMN)))
    save(figure, path, dpi=110)


def study_figure(rows: Sequence[Mapping[str, Any]], path: str | Path, axis: str, title: str, of: str = GAP) -> None:
    """Gap closed at step 0, or the speed-up to pix2pix's last FID, against a study's axis, with intervals.

    rows: value, base, split, method, and `of` with its _low and _high (None where unknown). of: "gap_closed" or "speedup".
    A panel per base (down) and split (across), a colour per method over the values in the order of the rows, joined by
    lines where the values are numbers. Zero and the own LoRA close 0 and 1 of the gap by definition, and pix2pix is as
    fast as itself, so these are levels; a speed-up that is never is 0. Intervals far beyond the values are cut at the frame.
    """
    values, bases, splits = (list(dict.fromkeys(row[name] for row in rows)) for name in ("value", "base", "split"))
    levels = (START, OWN, FROM_SCRATCH) if of == GAP else (OWN, FROM_SCRATCH)
    shown = [row for row in _known(rows, of) if row["method"] not in levels]
    names = ordered(row["method"] for row in shown)
    figure = new_figure(1.2 + 4.6 * len(splits), 1.5 + 3.3 * len(bases))
    panels = figure.subplots(len(bases), len(splits), sharex=True, sharey=True, squeeze=False)
    handles = {}
    for i, base in enumerate(bases):
        for j, split in enumerate(splits):
            panel: Axes = panels[i][j]
            chosen = [row for row in shown if (row["base"], row["split"]) == (base, split)]
            for k, name in enumerate(names):
                offset = 0.24 * ((k + 0.5) / len(names) - 0.5)
                handles[name] = _estimates(panel, [r for r in chosen if r["method"] == name], values, offset, of)
            panel_title(panel, base, split.replace("_", " "), bases)
            panel.axhline(0, color="#888888", linewidth=0.9, linestyle="--", zorder=1)
            panel.axhline(1, color=colour(OWN), linewidth=1.6, linestyle=(0, (1, 1.5)), zorder=1)
            panel.set_xticks(range(len(values)), values)
            panel.grid(True, axis="y", color=FAINT, linewidth=0.7)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylim(*_limits(shown, of))
    for panel in panels[-1]:
        panel.set_xlabel(axis)
    for panel in panels[:, 0]:
        panel.set_ylabel("gap closed at step 0 (L1)" if of == GAP else "speed-up to pix2pix's last FID")
    meaning = f"0 is {label(START)}, 1 {label(OWN)}" if of == GAP else "0 is never, 1 as fast"
    figure.suptitle(f"{title}:\n{meaning}", fontsize=10.5, x=0.01, ha="left")
    _legend(figure, handles, min(len(handles), int(figure.get_figwidth() / LEGEND_COLUMN)))
    save(figure, path, dpi=130)


def _estimates(panel: Axes, rows: Sequence[Mapping[str, Any]], values: Sequence[str], offset: float, of: str) -> Any:
    """One method's values with their intervals -> its legend handle."""
    middle, *ends = ([row[name] for row in rows] for name in (of, f"{of}_low", f"{of}_high"))
    low, high = (
        [0.0 if end is None else abs(end - value) for end, value in zip(side, middle, strict=True)] for side in ends
    )
    mine = any(ours(row["method"]) for row in rows)
    return panel.errorbar(
        [values.index(row["value"]) + offset for row in rows],
        middle,
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


def _known(rows: Sequence[Mapping[str, Any]], of: str) -> list[Mapping[str, Any]]:
    """The rows that have a value; an interval without one is of runs that mostly never arrive, which counts as 0."""
    found = [row for row in rows if row[of] is not None or row[f"{of}_low"] is not None]
    return [{**row, of: row[of] or 0.0} for row in found]


def _limits(rows: Sequence[Mapping[str, Any]], of: str = GAP) -> tuple[float, float]:
    points = _known(rows, of)
    middle = [row[of] for row in points]
    low, high = min([0.0, *middle]), max([1.0, *middle])
    ends = [end for row in points for end in (row[f"{of}_low"], row[f"{of}_high"]) if end is not None]
    return (max(min([low, *ends]), low - MARGIN * high) - 0.06, min(max([high, *ends]), high + MARGIN * high) + 0.06)


def sweep_figure(names: Sequence[str], scores: Mapping[str, Sequence[float | None]], path: str | Path) -> None:
    """A line per job of a sweep, a panel per score, the best filled; a job without a score has no dot.

    names: what each job was asked for; scores: score -> its value of each job, lower is better.
    """
    figure = new_figure(2.0 + 3.6 * len(scores), 1.0 + 0.3 * len(names))
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for panel, (score, values) in zip(panels, scores.items(), strict=True):
        known = [(value, place) for place, value in enumerate(values) if value is not None]
        panel.plot(*zip(*known, strict=True), "o", markeredgecolor=INK, markerfacecolor="white", markersize=7)
        panel.plot(*min(known), "o", color=INK, markersize=7)
        panel.set_xlabel(f"{score.upper() if score in METRICS else score}, lower is better; filled: the best")
        panel.set_yticks(range(len(names)), names, fontsize=9)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.grid(True, color=FAINT, linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, path, dpi=130)


def panel_title(panel: Axes, base: str, title: str, bases: Sequence[str]) -> None:
    panel.set_title(title if len(bases) == 1 else f"{base}, {title}", fontsize=11, loc="left", color=INK)


def _legend(figure: Figure, handles: Mapping[str, Any], columns: int) -> None:
    names = [label(name) for name in handles]
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 9.5}
    figure.legend(list(handles.values()), names, **place)


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """Inches -> a figure that owns its canvas."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path, dpi: int) -> None:
    """A PNG in one move, without the date and version stamps that would differ."""
    with replacing(path) as aside:
        figure.savefig(aside, dpi=dpi, format="png", metadata={"Software": None})

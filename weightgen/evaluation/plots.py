"""Figures of a comparison: quality against time, and a labelled contact sheet.

Matplotlib by its object interface only: no pyplot, no global state, no display.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from torch import Tensor

from weightgen.evaluation.methods import colour, label, ordered, ours
from weightgen.evaluation.results import ResultRow
from weightgen.evaluation.summary import Runs, collect, geometric_mean
from weightgen.files import replacing

_INK, _FAINT = "#222222", "#d9d9d9"
LEGEND_COLUMN = 2.8  # inches: what the longer labels take


def mean_curve(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """-> (seconds (S,), fid (S,)): at each step that all runs evaluated, the arithmetic mean of
    train_seconds and the geometric mean of FID over (concept, seed)."""
    by_step = [{row["step"]: row for row in curve.rows} for curve in runs.values()]
    steps = sorted(set.intersection(*(set(rows) for rows in by_step)))
    seconds = [np.mean([rows[step]["train_seconds"] for rows in by_step]) for step in steps]
    fids = [geometric_mean(rows[step]["fid"] for rows in by_step) for step in steps]
    return np.array(seconds), np.array(fids)


def curves(rows: Iterable[ResultRow], path: str | Path) -> None:
    """FID against training seconds, one panel per base (down) and split (across), one line per method.

    A method evaluated once (the trained LoRA) is a dotted level. Raises ValueError without rows.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no results to plot: run the evaluation first")
    groups = collect(rows)
    bases, splits = sorted({base for base, _ in groups}), sorted({split for _, split in groups})
    names = ordered(name for methods in groups.values() for name in methods)
    width = max(1.2 + 4.6 * len(splits), 7.4)
    legend_rows = math.ceil(len(names) / int(width / LEGEND_COLUMN))
    figure = _figure(width, 0.9 + 3.5 * len(bases) + 0.28 * legend_rows)
    axes = figure.subplots(len(bases), len(splits), sharex=True, sharey=True, squeeze=False)
    handles, latest = {}, 1.0
    for (base, split), methods in groups.items():
        panel: Axes = axes[bases.index(base)][splits.index(split)]
        concepts = {concept for runs in methods.values() for concept, _ in runs}
        noun = "concept" if len(concepts) == 1 else "concepts"
        title = f"{split.replace('_', ' ')}  ({len(concepts)} {noun})"
        panel.set_title(title if len(bases) == 1 else f"{base}, {title}", fontsize=11, loc="left", color=_INK)
        for name, runs in methods.items():
            seconds, fid = mean_curve(runs)
            handles[name] = _draw(panel, name, seconds, fid)
            latest = max(latest, seconds.max()) if len(seconds) > 1 else latest
    for panel in axes.flat:
        _scale_axes(panel, latest)
        panel.set_visible(bool(panel.lines))
    feature_set = rows[0]["feature_set"]
    for panel in axes[-1]:
        panel.set_xlabel("training seconds (log above 1 s)", color=_INK)
    for panel in axes[:, 0]:
        panel.set_ylabel("FID, lower is better", color=_INK)
    title = f"FID of {feature_set} features, geometric mean over concepts and seeds"
    figure.suptitle(title, fontsize=11, color=_INK, x=0.01, ha="left")
    figure.legend(
        [handles[name] for name in names],
        [label(name) for name in names],
        loc="outside lower center",
        ncols=math.ceil(len(names) / legend_rows),
        frameon=False,
        fontsize=9.5,
    )
    _save(figure, path, dpi=150)


def _draw(panel: Axes, name: str, seconds: np.ndarray, fid: np.ndarray):
    """One method's line -> its legend handle."""
    if len(fid) == 1:
        return panel.axhline(fid[0], color=colour(name), linestyle=(0, (1, 1.5)), linewidth=2.2, zorder=1.5)
    mine = ours(name) is not None
    (line,) = panel.plot(
        seconds,
        fid,
        color=colour(name),
        linewidth=2.8 if mine else 1.7,
        marker="o",
        markersize=5.5 if mine else 3.8,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=4 if mine else 3,
    )
    return line


def _scale_axes(panel: Axes, latest: float) -> None:
    # Linear up to 1 s so that step 0 has a place, logarithmic after.
    panel.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    panel.set_xlim(-0.12, latest * 1.25)
    panel.set_yscale("log")
    powers = [10.0**power for power in range(-9, 10)]
    seconds = [0.0, 0.3, *(mark * power for power in powers if power >= 1 for mark in (1, 3))]
    fids = [mark * power for power in powers for mark in _marks(*panel.get_ylim())]
    for axis, ticks in ((panel.xaxis, seconds), (panel.yaxis, fids)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.grid(True, color=_FAINT, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.tick_params(colors=_INK, labelsize=9, length=3, labelbottom=True, labelleft=True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color("#888888")


def _marks(low: float, high: float) -> tuple[float, ...]:
    """Label more multiples of a power of ten the fewer powers there are."""
    decades = math.log10(high / low)
    if decades < 0.5:
        return tuple(range(10, 100, 5)) if decades < 0.2 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8)
    return (1, 1.5, 2, 3, 5, 7) if decades < 1.3 else (1, 2, 5) if decades < 3 else (1,)


def grid(
    images: Mapping[str, Tensor], columns: Sequence[str], path: str | Path, title: str = "", tile: int = 128
) -> None:
    """A contact sheet. images: row label -> uint8 (n, 3, H, W), all alike; columns: n labels.

    Images keep their pixels: those smaller than `tile` px are enlarged by a whole factor, larger ones stay.
    Raises ValueError where the shapes or the number of labels differ.
    """
    shapes = {tuple(batch.shape) for batch in images.values()}
    if len(shapes) != 1 or (shape := next(iter(shapes)))[0] != len(columns) or shape[0] == 0:
        raise ValueError(f"grid of {shapes} images and {len(columns)} columns: all rows must match the columns")
    count, _, height, width = shape
    factor = max(1, tile // max(height, width))
    gap, margin = max(4, tile // 24), 12
    height, width = height * factor, width * factor
    row_labels = [textwrap.fill(name, 26) for name in images]
    column_labels = [textwrap.fill(_shorten(name), max(8, width // 8)) for name in columns]
    side = 8 * max(len(line) for text in row_labels for line in text.split("\n")) + 2 * margin
    head = 16 * max(text.count("\n") + 1 for text in column_labels) + 2 * margin
    above = 30 if title else 0
    sheet = np.full(
        (above + head + len(images) * (height + gap) - gap + margin, side + count * (width + gap) - gap + margin, 3),
        255,
        dtype=np.uint8,
    )
    figure = _figure(sheet.shape[1] / 100, sheet.shape[0] / 100, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    style = {"color": _INK, "parse_math": False, "linespacing": 1.15}
    for i, batch in enumerate(images.values()):
        top = above + head + i * (height + gap)
        for j, image in enumerate(batch.cpu()):
            left = side + j * (width + gap)
            sheet[top : top + height, left : left + width] = _enlarge(image, factor)
        axes.text(side - margin, top + height / 2, row_labels[i], ha="right", va="center", fontsize=9.5, **style)
    for j, text in enumerate(column_labels):
        x = side + j * (width + gap) + width / 2
        axes.text(x, above + head - margin / 2, text, ha="center", va="bottom", fontsize=9, **style)
    if title:
        axes.text(margin, margin, title, ha="left", va="top", fontsize=11, weight="bold", **style)
    axes.imshow(sheet, interpolation="nearest", aspect="auto", extent=(0, sheet.shape[1], sheet.shape[0], 0))
    _save(figure, path, dpi=100)


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _enlarge(image: Tensor, factor: int) -> np.ndarray:
    """uint8 (3, H, W) -> (H f, W f, 3), each pixel repeated."""
    repeated = torch.repeat_interleave(torch.repeat_interleave(image, factor, dim=1), factor, dim=2)
    return repeated.permute(1, 2, 0).numpy()


def _figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """Inches -> a figure that owns its canvas."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: str | Path, dpi: int) -> None:
    """Written beside `path`, then renamed; without the date and version stamps that would differ."""
    kind = Path(path).suffix.lstrip(".") or "png"
    with replacing(path) as aside:
        figure.savefig(aside, dpi=dpi, format=kind, metadata={"Software": None} if kind == "png" else None)

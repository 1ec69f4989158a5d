"""FID against training seconds. Matplotlib by its object interface only, as in `charts`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from weightgen.evaluation.curves import Group
from weightgen.evaluation.figures.charts import FAINT, INK, new_figure, panel_title, save
from weightgen.evaluation.methods import FROM_SCRATCH, OWN, START, colour, label, ours

GREY = "#a8a8a8"
APART = 0.042  # least distance of two labels, as a share of a panel's height


def curves_figure(
    curves: Iterable[Mapping[str, Any]], concepts: Mapping[Group, int], feature_set: str, path: str | Path
) -> None:
    """FID against training seconds, one panel per base (down) and split (across), one line per method, named at its end.

    curves: {"base", "split", "method", "metric", "points": [Point]}, of which FID's are drawn; concepts: how many in
    each panel. Ours are in colour with their 95 % bands, as are pix2pix and E2GAN without; other rivals are grey. A method
    evaluated once (the own LoRA) is a dotted level. An inset shows the first seconds. Raises ValueError without any.
    """
    drawn = [curve for curve in curves if curve["metric"] == "fid" and curve["points"]]
    if not drawn:
        raise ValueError("no results to plot: run the evaluation first")
    bases, splits = (sorted({curve[name] for curve in drawn}) for name in ("base", "split"))
    figure = new_figure(7.6 * len(splits), 0.6 + 5.0 * len(bases))
    axes = figure.subplots(len(bases), len(splits), sharex=True, sharey=True, squeeze=False)
    filled: dict[Axes, list[Mapping[str, Any]]] = {}
    moving = [curve["points"][-1].seconds for curve in drawn if len(curve["points"]) > 1]
    for i, base in enumerate(bases):
        for j, split in enumerate(splits):
            panel, count = axes[i][j], concepts.get((base, split), 0)
            chosen = [curve for curve in drawn if (curve["base"], curve["split"]) == (base, split)]
            _lines(panel, chosen)
            title = f"{split.replace('_', ' ')}  ({count} concept{'' if count == 1 else 's'})"
            panel_title(panel, base, title, bases)
            _scale_axes(panel, max([1.0, *moving]))
            panel.set_visible(bool(chosen))
            if moving and chosen:
                _inset(panel, chosen, min(moving))
            filled[panel] = chosen
    for panel, chosen in filled.items():  # heights hang on the limits, which all panels share
        _names(panel, chosen)
    for panel in axes[-1]:
        panel.set_xlabel("training seconds (log above 1 s)", color=INK)
    for panel in axes[:, 0]:
        panel.set_ylabel("FID, lower is better", color=INK)
    title = f"FID of {feature_set} features, geometric mean over concepts and seeds"
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    save(figure, path, dpi=130)


def _shade(name: str) -> str:
    return colour(name) if ours(name) or name in (FROM_SCRATCH, START, OWN) else GREY


def _lines(panel: Axes, curves: Iterable[Mapping[str, Any]]) -> None:
    for curve in curves:
        name, points = curve["method"], curve["points"]
        if len(points) == 1:
            panel.axhline(points[0].value, color=_shade(name), linestyle=(0, (1, 1.5)), linewidth=2.0, zorder=1.5)
            continue
        seconds, mine = [point.seconds for point in points], ours(name) is not None
        order = 4 if mine else 3 if _shade(name) != GREY else 2
        if mine:
            low, high = [point.low for point in points], [point.high for point in points]
            panel.fill_between(seconds, low, high, color=colour(name), alpha=0.13, linewidth=0, zorder=1)
        panel.plot(
            seconds,
            [point.value for point in points],
            color=_shade(name),
            linewidth=2.4 if mine else 1.4,
            marker="o",
            markersize=3.6 if mine else 2.6,
            zorder=order,
        )


def _inset(panel: Axes, curves: Sequence[Mapping[str, Any]], until: float) -> None:
    """The same lines up to `until` seconds, where the shortest of them ends; seconds are linear."""
    inset = panel.inset_axes((0.04, 0.07, 0.42, 0.34))
    _lines(inset, curves)
    inset.set_xlim(-0.03 * until, until)
    inset.set_ylim(panel.get_ylim())
    inset.set_yscale("log")
    inset.yaxis.set_major_locator(NullLocator())
    inset.yaxis.set_minor_locator(NullLocator())
    inset.set_title(f"the first {until:.2g} s", fontsize=8, color=INK, loc="right", pad=2)
    inset.tick_params(labelsize=7, length=2, colors=INK)


def _names(panel: Axes, curves: Sequence[Mapping[str, Any]]) -> None:
    """Each method's name right of the panel, at the height where its line ends, moved apart where they would overlap."""
    low, high = (math.log(limit) for limit in panel.get_ylim())
    ends = sorted((curve["points"][-1].value, curve["method"], curve["points"][-1].seconds) for curve in curves)
    heights = [(math.log(value) - low) / (high - low) for value, *_ in ends]
    for _ in range(200):  # a few sweeps of pushing neighbours apart
        for k in range(len(heights) - 1):
            lacking = APART - (heights[k + 1] - heights[k])
            if lacking > 0:
                heights[k], heights[k + 1] = heights[k] - lacking / 2, heights[k + 1] + lacking / 2
    for height, (value, name, seconds) in zip(heights, ends, strict=True):
        panel.annotate(
            label(name),
            xy=(seconds, value),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=_shade(name) if _shade(name) != GREY else "#777777",
            fontweight="bold" if ours(name) else "normal",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 2, "shrinkB": 3},
            annotation_clip=False,
        )


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
    panel.grid(True, color=FAINT, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.tick_params(colors=INK, labelsize=9, length=3, labelbottom=True, labelleft=True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color("#888888")


def _marks(low: float, high: float) -> tuple[float, ...]:
    """Label more multiples of a power of ten the fewer powers there are."""
    decades = math.log10(high / low)
    if decades < 0.5:
        return tuple(range(10, 100, 5)) if decades < 0.2 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8)
    return (1, 1.5, 2, 3, 5, 7) if decades < 1.3 else (1, 2, 5) if decades < 3 else (1,)

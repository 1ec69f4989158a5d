"""A labelled contact sheet of images, pixel for pixel."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from matplotlib.patheffects import withStroke
from torch import Tensor

from weightgen.evaluation.figures.charts import INK, new_figure, save


def grid(
    images: Mapping[str, Tensor],
    columns: Sequence[str],
    path: str | Path,
    title: str = "",
    tile: int = 128,
    notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """A contact sheet. images: row label -> uint8 (n, 3, H, W), all alike; columns: n labels, whose line ends stay; notes:
    row label -> n texts, each written into its image.

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
    wide = max(8, width // 8)
    column_labels = ["\n".join(textwrap.fill(_shorten(line), wide) for line in name.split("\n")) for name in columns]
    side = 8 * max(len(line) for text in row_labels for line in text.split("\n")) + 2 * margin
    above = 30 if title else 0
    head = above + 16 * max(text.count("\n") + 1 for text in column_labels) + 2 * margin
    size = (head + len(images) * (height + gap) - gap + margin, side + count * (width + gap) - gap + margin)
    sheet = np.full((*size, 3), 255, dtype=np.uint8)
    figure = new_figure(sheet.shape[1] / 100, sheet.shape[0] / 100, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    style = {"color": INK, "parse_math": False, "linespacing": 1.15}
    for i, (row, batch) in enumerate(images.items()):
        top = head + i * (height + gap)
        for j, image in enumerate(batch.cpu()):
            left = side + j * (width + gap)
            enlarged = image.permute(1, 2, 0).numpy().repeat(factor, axis=0).repeat(factor, axis=1)
            sheet[top : top + height, left : left + width] = enlarged
            if row in notes:
                halo = [withStroke(linewidth=2.5, foreground="white")]
                place = {"ha": "center", "va": "bottom", "fontsize": 7.5, "path_effects": halo}
                axes.text(left + width / 2, top + height - 3, notes[row][j], **place, **style)
        axes.text(side - margin, top + height / 2, row_labels[i], ha="right", va="center", fontsize=9.5, **style)
    for j, text in enumerate(column_labels):
        x = side + j * (width + gap) + width / 2
        axes.text(x, head - margin / 2, text, ha="center", va="bottom", fontsize=9, **style)
    if title:
        axes.text(margin, margin, title, ha="left", va="top", fontsize=11, weight="bold", **style)
    axes.imshow(sheet, interpolation="nearest", aspect="auto", extent=(0, sheet.shape[1], sheet.shape[0], 0))
    save(figure, path, dpi=100)


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"

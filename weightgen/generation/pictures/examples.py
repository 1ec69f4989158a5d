"""Pairs of pictures before and after, as a generator of weights looks at them: squares of its training size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightgen.data.editors.premade.folders import PairReader
from weightgen.data.photos.crops import detail
from weightgen.errors import DataError
from weightgen.files import FileMemory
from weightgen.generation.pictures.any_size import mirrored
from weightgen.generation.pictures.images import accepted

MOST = 256  # squares that training needs at most


def pairs_in(folder: Path | str) -> list[tuple[Any, Any]]:
    """The pairs of a folder: `before/` and `after/` (or `source/` and `target/`) with files of equal names and sizes, or
    pictures of two squares side by side, before on the left. DataError: there are none, or a file has no partner."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of pairs")
    named = ("before", "after") if (folder / "before").is_dir() else ("source", "target")
    pairs = PairReader(source=named[0], target=named[1], least=1).pairs(folder, FileMemory())
    if not pairs:
        raise DataError(f"{folder} holds no pairs: put pictures of equal names in {folder}/before and {folder}/after")
    return [pair.images() for pair in pairs]


def examples(pairs: Sequence[tuple[Any, Any]], side: int, most: int = MOST) -> tuple[Tensor, Tensor]:
    """-> before, after: uint8 (n, 3, side, side), n at most `most`.

    Each picture gives the squares of its grid of `side` pixels from its upper left corner, which is how a translator sees
    it; those with the most detail are kept, of as many pictures as there are. DataError: no pair, or two sizes in one.
    """
    if not pairs:
        raise DataError("no pairs were given: pass [(before, after), ...]")
    cells = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"pair {number} is no pair: pass (before, after)")
        (before, _), (after, _) = accepted(pair[0]), accepted(pair[1])
        if before.shape != after.shape or len(before) != 1:
            raise DataError(
                f"pair {number}: before is {tuple(before.shape[2:])} and after {tuple(after.shape[2:])} px; give one "
                "picture each, of equal sizes"
            )
        both = _cells(torch.cat([before, after]), side)
        cells.append(both[:, detail(both[0]).argsort(descending=True, stable=True)])
    turn = [(row, number) for number, both in enumerate(cells) for row in range(both.shape[1])]
    chosen = torch.stack([cells[number][:, row] for row, number in sorted(turn)[:most]], 1)
    return chosen[0].contiguous(), chosen[1].contiguous()


def _cells(images: Tensor, side: int) -> Tensor:
    """uint8 (2, 3, H, W) -> (2, cells, 3, side, side); a picture below `side` is filled up to one."""
    for dim in (2, 3):
        images = mirrored(images, max(side, images.shape[dim] // side * side), dim)
    parts = images[..., : images.shape[2] // side * side, : images.shape[3] // side * side]
    return parts.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)

"""Pictures of any size through a translator that was trained at one: mirrored at their borders, large ones in tiles."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from weightgen.translation.pictures import translate

OVERLAP = 16  # pixels that neighbouring tiles share, along which they fade into each other
PERIODS = 2  # of the position code in a tile, so that every tile starts at the same place of the code


def translate_any_size(model: nn.Module, images: Tensor, tokens: Tensor, text_mask: Tensor) -> Tensor:
    """images: uint8 (N, 3, H, W) of any H and W -> the same shape; tokens: (1, L, E); text_mask: (1, L) bool.

    A pixel is treated as one of the training size: what a translator draws is as large in a large picture, not larger.
    `model.period` is the training size in pixels (None: any picture is one tile, whose sides are filled to `multiple`).
    """
    height, width = images.shape[2:]
    (tall, rows), (wide, columns) = (
        _cut(side, getattr(model, "period", None), model.multiple) for side in (height, width)
    )
    padded = mirrored(mirrored(images, rows[-1] + tall, 2), columns[-1] + wide, 3)
    if len(rows) == len(columns) == 1:
        return translate(model, padded, tokens, text_mask)[..., :height, :width].contiguous()
    out = torch.zeros(padded.shape)
    for top, across in _faded(rows, tall):
        strip = torch.zeros(*padded.shape[:2], tall, padded.shape[3])
        tiles = torch.cat([padded[..., top : top + tall, left : left + wide] for left in columns])
        for (left, along), tile in zip(
            _faded(columns, wide), translate(model, tiles, tokens, text_mask).split(len(images)), strict=True
        ):
            strip[..., left : left + wide] += tile * along
        out[..., top : top + tall, :] += strip * across[:, None]
    return out[..., :height, :width].round().clamp(0, 255).to(torch.uint8)


def mirrored(images: Tensor, side: int, dim: int) -> Tensor:
    """Filled to `side` along `dim` by reflection about the last pixel, over and over where a picture is small."""
    size = images.shape[dim]
    if side == size:
        return images
    turns = 2 * max(size - 1, 1)
    index = torch.arange(side) % turns
    return images.index_select(dim, torch.minimum(index, turns - index).clamp(max=size - 1))


def _cut(side: int, period: int | None, multiple: int) -> tuple[int, list[int]]:
    """Length of a tile and where tiles begin, so that they cover `side`."""
    largest = PERIODS * period + OVERLAP if period else side
    if side <= largest:
        return -(-max(side, period or 1) // multiple) * multiple, [0]
    step = largest - OVERLAP
    return largest, list(range(0, side - OVERLAP, step))


def _faded(starts: list[int], length: int) -> Iterator[tuple[int, Tensor]]:
    """Each start with its tile's weights (length,): they rise and fall over the overlap, and all tiles' add up to 1."""
    rise = (torch.arange(OVERLAP) + 0.5) / OVERLAP
    for start in starts:
        weight = torch.ones(length)
        if start != starts[0]:
            weight[:OVERLAP] = rise
        if start != starts[-1]:
            weight[-OVERLAP:] = 1 - rise
        yield start, weight

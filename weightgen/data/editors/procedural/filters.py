"""What the media are drawn with: a coordinate grid, blurs, soft steps, edges and grid cells.

Only shifts, sums and pointwise maps occur: an image's result does not depend on the batch it is in. (A
convolution may pick another algorithm, and so other last bits, for another batch size.)
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from weightgen.data.editors.procedural.palettes import luminance


@dataclass(frozen=True)
class Canvas:
    """The drawing grid: pixel centres, rows (H, 1) and columns (1, W); `unit`: pixels per 1/64 of a side."""

    unit: float
    rows: Tensor
    columns: Tensor
    offset: int = 0

    @classmethod
    def of(cls, images: Tensor, offset: int = 0) -> "Canvas":
        """Canvas for (B, 3, H, W); `offset` moves the grid down and right by that many pixels."""
        height, width = images.shape[-2:]
        rows = torch.arange(height, dtype=torch.float32, device=images.device)[:, None] + 0.5 - offset
        columns = torch.arange(width, dtype=torch.float32, device=images.device)[None, :] + 0.5 - offset
        return cls(min(height, width) / 64, rows, columns, offset)

    def length(self, units: float, least: int = 2) -> int:
        """Whole pixels of a grid period."""
        return max(least, round(units * self.unit))


def shift(x: Tensor, down: int, right: int) -> Tensor:
    """Moves the picture, repeating its border."""
    height, width = x.shape[-2:]
    rows = (torch.arange(height, device=x.device) - down).clamp_(0, height - 1)
    columns = (torch.arange(width, device=x.device) - right).clamp_(0, width - 1)
    return x.index_select(-2, rows).index_select(-1, columns)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian of `sigma` pixels with repeated borders."""
    radius = max(1, math.ceil(2.5 * sigma))
    taps = [math.exp(-0.5 * (i / max(sigma, 1e-3)) ** 2) for i in range(-radius, radius + 1)]
    total = sum(taps)
    height, width = x.shape[-2:]
    padded = F.pad(x, (radius, radius, 0, 0), mode="replicate")
    x = sum(tap / total * padded[..., i : i + width] for i, tap in enumerate(taps))
    padded = F.pad(x, (0, 0, radius, radius), mode="replicate")
    return sum(tap / total * padded[..., i : i + height, :] for i, tap in enumerate(taps))


def step(x: Tensor, threshold: float | Tensor, width: float) -> Tensor:
    """Soft threshold: 0 below, 1 above, linear over `width`."""
    return ((x - threshold) / width + 0.5).clamp(0, 1)


def edges(y: Tensor, unit: float) -> Tensor:
    """Slope of (B, 1, H, W) per 1/64 of the side: 0 on flat areas, about 1 on strong edges."""
    y = blur(y, 0.7 * unit)
    reach = max(1, round(unit))
    across = shift(y, 0, -reach) - shift(y, 0, reach)
    down = shift(y, -reach, 0) - shift(y, reach, 0)
    return 2.0 * (across**2 + down**2 + 1e-8).sqrt() * unit / reach


def saturate(x: Tensor, factor: float) -> Tensor:
    y = luminance(x)
    return (y + factor * (x - y)).clamp(0, 1)


def levels(x: Tensor, count: int, softness: float = 0.2) -> Tensor:
    """Quantises [0, 1] to `count` levels with soft risers."""
    scaled = x.clamp(0, 1) * (count - 1)
    base = torch.floor(scaled)
    return (base + step(scaled - base, 0.5, softness)) / (count - 1)


def cell_mean(x: Tensor, cell: int, canvas: Canvas) -> Tensor:
    """Every pixel -> mean of its grid cell of `cell` x `cell` pixels."""
    height, width = x.shape[-2:]
    top = left = -canvas.offset % cell
    bottom, right = -(top + height) % cell, -(left + width) % cell
    mean = F.avg_pool2d(F.pad(x, (left, right, top, bottom), mode="replicate"), cell)
    whole = mean.repeat_interleave(cell, -2).repeat_interleave(cell, -1)
    return whole[..., top : top + height, left : left + width]


def grey(y: Tensor) -> Tensor:
    return y.expand(-1, 3, -1, -1)

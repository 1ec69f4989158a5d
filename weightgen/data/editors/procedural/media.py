"""Media: how a picture is made (lines, dots, tiles). They render structure; palettes recolour it afterwards.

Every medium maps (B, 3, H, W) in [0, 1] to the same shape (the editor clamps) and works pixel by pixel, by
neighbourhood, or on a grid tied to image coordinates. Lengths are in units of 1/64 of the shorter side. Edges
are soft, so that a small convolutional net can follow them.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from weightgen.data.editors.procedural.filters import (
    Canvas,
    blur,
    cell_mean,
    edges,
    grey,
    levels,
    saturate,
    shift,
    step,
)
from weightgen.data.editors.procedural.palettes import luminance

Medium = Callable[[Tensor, Canvas], Tensor]


def pencil(x: Tensor, c: Canvas) -> Tensor:
    """Colour dodge: a picture divided by its own blur is white but for thin dark lines."""
    y = luminance(x)
    lines = ((y + 0.06) / (blur(y, 2.0 * c.unit) + 0.06)).clamp(0, 1) ** 3
    return grey(lines * (0.8 + 0.2 * y))


def ink(x: Tensor, c: Canvas) -> Tensor:
    """Difference of Gaussians with a soft threshold (Winnemoeller's XDoG): solid black shapes on white."""
    y = luminance(x)
    fine, coarse = blur(y, 0.8 * c.unit), blur(y, 3.0 * c.unit)
    return grey(step(fine + 2.5 * (fine - coarse), 0.42, 0.12))


def charcoal(x: Tensor, c: Canvas) -> Tensor:
    """Dark smears with heavy edges on a coarse diagonal grain."""
    y = luminance(x)
    smear = 0.75 * blur(y, 1.6 * c.unit) ** 1.3
    period = c.length(4)
    grain = torch.sin(2 * math.pi * (c.rows + c.columns) / period) * torch.sin(2 * math.pi * c.columns / period)
    return grey(smear + 0.1 - 0.9 * edges(y, c.unit) + 0.07 * grain)


def hatching(x: Tensor, c: Canvas) -> Tensor:
    """White paper; each darker tone adds one more direction of strokes."""
    y = blur(luminance(x), 1.0 * c.unit)
    period = c.length(4, least=3)
    ink_on = torch.zeros_like(y)
    for threshold, direction in ((0.7, c.rows + c.columns), (0.45, c.rows - c.columns), (0.22, c.rows + 0 * c.columns)):
        stroke = step(torch.cos(2 * math.pi * direction / period), 0.3, 0.8)
        ink_on = torch.maximum(ink_on, stroke * step(threshold - y, 0.0, 0.12))
    return grey(1 - 0.95 * ink_on)


def woodcut(x: Tensor, c: Canvas) -> Tensor:
    """Wavy horizontal grooves, cut wider where the picture is light."""
    y = blur(luminance(x), 0.7 * c.unit)
    period, wave = c.length(4, least=3), c.length(16)
    groove = 0.5 + 0.5 * torch.cos(2 * math.pi * (c.rows / period + 0.4 * torch.sin(2 * math.pi * c.columns / wave)))
    return grey(step(1.25 * (y - 0.5) + 0.5, 0.1 + 0.8 * groove, 0.25))


def oil(x: Tensor, c: Canvas) -> Tensor:
    """Kuwahara filter: of the four neighbouring squares each pixel takes the mean of the calmest."""
    reach = max(1, round(1.5 * c.unit))
    size = 2 * reach + 1
    y = luminance(x)
    stack = torch.cat([x, y, y * y], 1)
    padded = F.pad(stack, (reach,) * 4, mode="replicate")
    mean = F.avg_pool2d(F.avg_pool2d(padded, (1, size), 1), (size, 1), 1)
    best, calmest = mean[:, :3], torch.full_like(y, torch.inf)
    for down in (-reach, reach):
        for right in (-reach, reach):
            square = shift(mean, down, right)
            spread = square[:, 4:5] - square[:, 3:4] ** 2
            best = torch.where(spread < calmest, square[:, :3], best)
            calmest = torch.minimum(spread, calmest)
    paint = luminance(best)
    impasto = paint - shift(paint, 1, 1)  # ridges of paint catch the light from the upper left
    return saturate(0.5 + 1.2 * (best - 0.5) + 0.6 * impasto, 1.6)


def watercolor(x: Tensor, c: Canvas) -> Tensor:
    """Washes that leave paper white, with pigment gathered at their borders."""
    wash = blur(x, 1.3 * c.unit)
    tone = luminance(wash)
    pools = levels(tone, 4, softness=0.3)
    rim = edges(pools, c.unit).clamp(max=1)
    pigment = saturate(wash, 1.8) + 0.6 * (pools - tone)
    return (0.42 + 0.6 * pigment) * (1 - 0.5 * rim)


def poster(x: Tensor, c: Canvas) -> Tensor:
    """Three flat levels in every channel."""
    return levels(saturate(blur(x, 1.0 * c.unit), 1.6), 3, softness=0.15)


def cutout(x: Tensor, c: Canvas) -> Tensor:
    """Four sheets of paper, light on top; each throws a shadow on the sheet below."""
    height = levels(blur(luminance(x), 2.2 * c.unit), 4, softness=0.15)
    drop = max(1, round(2 * c.unit))
    shadow = (blur(shift(height, drop, drop), 0.8 * c.unit) - height).clamp(min=0)
    colour = blur(x - luminance(x), 3 * c.unit)
    return (0.12 + 0.88 * height) * (1 - 1.8 * shadow).clamp(min=0) + 0.7 * colour


def halftone(x: Tensor, c: Canvas) -> Tensor:
    """Black dots on a grid at 45 degrees, grown with darkness."""
    y = blur(luminance(x), 1.2 * c.unit)
    period = c.length(8, least=4)
    screen = torch.cos(2 * math.pi * c.rows / period) * torch.cos(2 * math.pi * c.columns / period)
    return grey(step(y, 0.5 + 0.48 * screen, 0.2))


def mosaic(x: Tensor, c: Canvas) -> Tensor:
    """Square tiles of one colour each in dark grout, a highlight on their upper left."""
    cell = c.length(8, least=4)
    tiles = saturate(cell_mean(x, cell, c), 1.3)
    row, column = c.rows % cell, c.columns % cell
    grout = ((row < 0.2 * cell) | (column < 0.2 * cell)).float()
    bevel = 0.12 * ((row + column) < cell * 0.875).float() - 0.12 * ((row + column) > cell * 1.5).float()
    return (0.15 + 0.8 * tiles + bevel) * (1 - grout) + 0.08 * grout


def pixel(x: Tensor, c: Canvas) -> Tensor:
    """Big pixels of few colours."""
    return levels(saturate(cell_mean(x, c.length(4), c), 1.3), 5, softness=0.3)


def stitch(x: Tensor, c: Canvas) -> Tensor:
    """Crosses of thread on pale cloth, one colour a cross."""
    cell = c.length(8, least=4)
    thread = saturate(cell_mean(x, cell, c), 1.2)
    row, column = c.rows % cell, c.columns % cell
    off = torch.minimum((row - column).abs(), (row + column - cell).abs())
    cross = step(1.3 * cell / 8 - off, 0.0, cell / 8)
    return (0.9 * thread) * cross + 0.93 * (1 - cross)


def glass(x: Tensor, c: Canvas) -> Tensor:
    """Luminous panes of saturated colour between black leads, along regions and a diamond lattice."""
    wash = blur(x, 2.5 * c.unit)
    period = c.length(16, least=8)
    diagonals = torch.stack([c.rows + c.columns, c.rows - c.columns]) % period
    lattice = torch.minimum(diagonals, period - diagonals).amin(0)  # distance to the nearest lead
    regions = edges(levels(luminance(wash), 4, softness=0.2), c.unit)
    lead = torch.maximum(step(1.2 * c.unit - lattice, 0.0, max(c.unit, 0.5)), step(regions, 0.5, 0.3))
    return (0.1 + 0.9 * saturate(wash, 2.2)) * (1 - lead)


def relief(x: Tensor, c: Canvas) -> Tensor:
    """Lit from the upper left: mid grey plus the slope along the diagonal."""
    y = blur(luminance(x), 0.6 * c.unit)
    reach = max(1, round(c.unit))
    return grey(0.5 + 1.4 * (y - shift(y, reach, reach)))


def dream(x: Tensor, c: Canvas) -> Tensor:
    """Screen blend of the picture with its wide blur: no dark is left, no edge is sharp."""
    glow = blur(x, 4.0 * c.unit)
    return 1 - (1 - 0.6 * blur(x, 2.0 * c.unit)) * (1 - 0.9 * glow**0.8)


def fog(x: Tensor, c: Canvas) -> Tensor:
    """Pale grey that hides more and more towards the top."""
    depth = 1 - (c.rows - c.rows[0]) / max(c.rows.shape[0] - 1, 1)
    veil = 0.5 + 0.45 * depth
    return blur(saturate(x, 0.6), 1.0 * c.unit) * (1 - veil) + 0.8 * veil


def outlines(x: Tensor, c: Canvas) -> Tensor:
    """Edges as coloured light on black."""
    light = edges(luminance(x), c.unit).clamp(max=1)
    halo = blur(light, 1.5 * c.unit)
    tint = 0.55 + 0.45 * saturate(blur(x, 1.5 * c.unit), 2.0)
    return (1.3 * light + 0.8 * halo) * tint


def scanlines(x: Tensor, c: Canvas) -> Tensor:
    """Every second pair of rows dark, the picture smeared sideways and brightened."""
    period = c.length(4)
    smear = (shift(x, 0, -max(1, round(c.unit))) + x + shift(x, 0, max(1, round(c.unit)))) / 3
    beam = 0.5 + 0.5 * torch.cos(2 * math.pi * (c.rows - period / 4) / period)
    return (1.25 * smear + 0.05) * (0.2 + 0.8 * beam)


RENDERERS: dict[str, Medium] = {
    function.__name__: function
    for function in (
        *(pencil, ink, charcoal, hatching, woodcut, oil, watercolor, poster, cutout, halftone),
        *(mosaic, pixel, stitch, glass, relief, dream, fog, outlines, scanlines),
    )
}

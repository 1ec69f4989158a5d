"""What is wrong with an edit, seen from its pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from weightgen.errors import DataError

FLAWS = ("nan", "black", "unchanged", "flat")  # by number, from 1
BLACK = 2  # of 255: what compression leaves of black
FLAT = 3  # of 255: the spread of colours below which nothing was drawn


def flaws(photos: Tensor, edited: Tensor, min_change: float) -> Tensor:
    """photos: uint8 (B, 3, S, S); edited: float, same shape, in [0, 1] or not finite -> (B,): 0 fine, else a FLAWS number.

    Black is a flaw unless the photo is, and so is flat, one colour all over; unchanged: mean |edited - photo| is 0, or below
    `min_change`.
    """
    finite = edited.isfinite().flatten(1).all(1)
    values = edited.nan_to_num(0, 0, 0) * 255
    dark = values.flatten(1).amax(1) <= BLACK
    was_dark = photos.flatten(1).amax(1) <= BLACK
    change = (values - photos).abs().flatten(1).mean(1) / 255
    same = (change < min_change) | (values.round() == photos).flatten(1).all(1)
    flat = [(pixels.flatten(2).amax(2) - pixels.flatten(2).amin(2)).amax(1) <= FLAT for pixels in (values, photos)]
    found = torch.where(same, 3, 0)
    found = torch.where(flat[0] & ~flat[1], 4, found)
    found = torch.where(dark & ~was_dark, 2, found)
    return torch.where(finite, found, 1)


def require_different(edits: Sequence[Tensor], photos: Tensor, name: str) -> None:
    """DataError: the edits of different photos are all one picture. edits: uint8 (3, S, S) each, photos: (N, 3, S, S)."""
    if len(edits) < 2:
        return
    same, alike = (
        (images.float().amax(0) - images.float().amin(0)).max() <= FLAT for images in (torch.stack(list(edits)), photos)
    )
    if bool(same) and not bool(alike):
        raise DataError(
            f"concept {name}: all {len(edits)} edits are one and the same picture, whatever the photo: lower "
            "editor.strength or editor.guidance_scale, or choose another editor or prompt"
        )

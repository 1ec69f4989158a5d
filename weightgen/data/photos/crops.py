"""Squares out of photos."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CANDIDATES = 8  # squares of which `face_agnostic` takes the most detailed

Crop = Callable[[Image.Image, int, float, np.random.Generator], Tensor]


def _square(photo: Image.Image, size: int, side: float, x: float, y: float) -> Tensor:
    crop = photo.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1)


def random_crop(photo: Image.Image, size: int, min_scale: float, rng: np.random.Generator) -> Tensor:
    """A random square of the photo -> (3, size, size) uint8.

    Its side is uniform between min_scale x short side and the whole short side, and never below
    `size` where the photo allows: enlarged crops would teach blur.
    """
    short = min(photo.size)
    side = rng.uniform(max(min_scale * short, min(size, short)), short)
    x, y = rng.random() * (photo.width - side), rng.random() * (photo.height - side)
    return _square(photo, size, side, x, y)


def central_crop(photo: Image.Image, size: int, min_scale: float, rng: np.random.Generator) -> Tensor:
    """The largest square in the middle, one a photo: as aligned portraits are used. min_scale and rng do nothing."""
    side = min(photo.size)
    return _square(photo, size, side, (photo.width - side) / 2, (photo.height - side) / 2)


def face_agnostic_crop(photo: Image.Image, size: int, min_scale: float, rng: np.random.Generator) -> Tensor:
    """Of 8 random squares the one with the most detail (mean absolute difference of neighbouring pixels).

    It avoids sky and bare walls without any idea of a face: no detector, no landmarks, no preferred place.
    """
    squares = [random_crop(photo, size, min_scale, rng) for _ in range(CANDIDATES)]
    return squares[int(detail(torch.stack(squares)).argmax())]


def detail(images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) -> (N,): mean absolute difference of neighbouring pixels."""
    values = images.float()
    return values.diff(dim=2).abs().mean((1, 2, 3)) + values.diff(dim=3).abs().mean((1, 2, 3))


CROPS: dict[str, Crop] = {"random": random_crop, "central": central_crop, "face_agnostic": face_agnostic_crop}

"""What a translator may be given: tensors, arrays, Pillow images and files, one or many; answers are of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from weightgen.data.photos.decoding import decode_photo, to_rgb
from weightgen.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

TAKES = "pass uint8 from 0 to 255, float from 0 to 1, a Pillow image or a path"
Back = Callable[[Tensor], Any]


def accepted(images: Any) -> tuple[Tensor, Back]:
    """-> pictures as uint8 (N, 3, H, W), and what turns such pictures back into what was given.

    Takes a tensor (N, 3, H, W) or (3, H, W), an array of these shapes or (N, H, W, 3) or (H, W, 3), both uint8 or float in
    [0, 1]; a Pillow image of any mode; a path, whose answer is a Pillow image. DataError: anything else, and what to pass.
    """
    from PIL import Image

    if isinstance(images, str | Path):
        images = read_photo(Path(images))
    if isinstance(images, Image.Image):
        return pixels(to_rgb(images)), lambda out: picture(out[0])
    if isinstance(images, np.ndarray):
        return _array(images)
    if isinstance(images, Tensor):
        return _tensor(images)
    raise DataError(f"a translator cannot take {type(images).__name__}: {TAKES}")


def each_accepted(images: Sequence[Any]) -> tuple[list[Tensor], list[Back]]:
    """`accepted` of every member of a list."""
    if not len(images):
        raise DataError(f"a translator was given an empty list: {TAKES}")
    taken = [accepted(image) for image in images]
    return [pictures for pictures, _ in taken], [back for _, back in taken]


def read_photo(path: Path) -> Image.Image:
    """A photo file as an upright RGB image. DataError names the file and what is wrong with it."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such photo")
    try:
        return decode_photo(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def pixels(photo: Image.Image) -> Tensor:
    """RGB image -> uint8 (1, 3, H, W)."""
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].contiguous()


def picture(pixels: Tensor) -> Image.Image:
    """uint8 (3, H, W) -> RGB image."""
    from PIL import Image

    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _array(images: np.ndarray) -> tuple[Tensor, Back]:
    if images.ndim not in (3, 4):
        raise DataError(f"an array of shape {images.shape} is no picture: it should be (H, W, 3) or (N, H, W, 3)")
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"pictures of {images.dtype}: {TAKES}")
    last = images.shape[-1] == 3  # (3, H, 3) is read as three rows of a colour picture
    values = torch.from_numpy(np.ascontiguousarray(images))
    taken, back = _tensor(values.movedim(-1, -3) if last else values)

    def array(out: Tensor) -> np.ndarray:
        given = back(out)
        return np.ascontiguousarray((given.movedim(-3, -1) if last else given).numpy()).astype(images.dtype)

    return taken, array


def _tensor(images: Tensor) -> tuple[Tensor, Back]:
    if images.ndim not in (3, 4) or images.shape[-3] != 3:
        raise DataError(f"images have shape {tuple(images.shape)}; a translator wants (N, 3, H, W) or (3, H, W)")
    if not images.numel():
        raise DataError(f"images of shape {tuple(images.shape)} are empty: {TAKES}")
    one, kind = images.ndim == 3, images.dtype
    batch = (images[None] if one else images).detach().cpu()
    if kind == torch.uint8:
        return batch, lambda out: out[0] if one else out
    if not kind.is_floating_point:
        raise DataError(f"images of {kind}: {TAKES}")
    if not bool(batch.isfinite().all()):
        raise DataError("images hold values that are not finite: a translator wants numbers from 0 to 1")
    low, high = float(batch.min()), float(batch.max())
    if low < 0 or high > 1:
        scale = "pass (x + 1) / 2" if low >= -1 and high <= 1 else "pass x / 255, or uint8"
        raise DataError(f"float images go from {low:.3g} to {high:.3g}, a translator wants 0 to 1: {scale}")

    def floats(out: Tensor) -> Tensor:
        scaled = (out.float() / 255).to(kind)
        return scaled[0] if one else scaled

    return (batch.float() * 255).round().to(torch.uint8), floats

"""Any photo file -> upright 8-bit RGB."""

from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from weightgen.errors import DataError

pillow_heif.register_heif_opener()  # .heic and .heif, as phones write them

# Not pictures by themselves: they need an outside program, or are video and scientific containers.
_NOT_PHOTOS = frozenset({"EPS", "WMF", "MPEG", "HDF5", "BUFR", "GRIB", "PDF", "FLI"})


@cache
def photo_extensions() -> tuple[str, ...]:
    """Lower-case file name endings of the formats that this Pillow reads."""
    table = Image.registered_extensions()
    return tuple(sorted(end for end, kind in table.items() if kind in Image.OPEN and kind not in _NOT_PHOTOS))


def _eight_bits(photo: Image.Image) -> Image.Image:
    """Integer and float greyscale (modes I;16, I, F) -> L. Pillow's own conversion clips them to white."""
    values = np.asarray(photo, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError("holds values that are not numbers")
    top = values.max(initial=0)
    if photo.mode == "F":
        full = 1.0 if top <= 1 else 255.0 if top <= 255 else top
    else:
        full = 65535.0 if top <= 65535 else top
    return Image.fromarray(np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8))


def decode_photo(source: Path | IO[bytes]) -> Image.Image:
    """File -> RGB image, turned upright by its EXIF tag, transparency laid on white, 16 bits scaled to 8.

    DataError: why the file cannot be decoded (the caller knows its name).
    """
    try:
        with Image.open(source) as photo:
            photo.load()
            photo = ImageOps.exif_transpose(photo)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        KeyError,
        RuntimeError,
        Image.DecompressionBombError,
    ) as error:  # Pillow's decoders and its plugins raise all of these for broken files
        raise DataError(f"cannot be decoded ({error})") from error
    if photo.mode[0] in "IF":
        photo = _eight_bits(photo)
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    return photo.convert("RGB")

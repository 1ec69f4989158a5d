"""Any photo file -> upright 8-bit RGB."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from weightgen.errors import DataError
from weightgen.extras import optional
from weightgen.files import sha256

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)
# Pillow's formats and their file name endings, HEIF as phones write it among them. Left out are those that are no pictures
# by themselves: they need an outside program, or are video and scientific containers.
FORMATS = {
    "AVIF": ".avif .avifs",
    "BLP": ".blp",
    "BMP": ".bmp",
    "CUR": ".cur",
    "DCX": ".dcx",
    "DDS": ".dds",
    "DIB": ".dib",
    "FITS": ".fit .fits",
    "FTEX": ".ftc .ftu",
    "GBR": ".gbr",
    "GIF": ".gif",
    "HEIF": ".heic .heics .heif .heifs .hif",
    "ICNS": ".icns",
    "ICO": ".ico",
    "IM": ".im",
    "IPTC": ".iim",
    "JPEG": ".jfif .jpe .jpeg .jpg",
    "JPEG2000": ".j2c .j2k .jp2 .jpc .jpf .jpx",
    "MSP": ".msp",
    "PCD": ".pcd",
    "PCX": ".pcx",
    "PIXAR": ".pxr",
    "PNG": ".apng .png",
    "PPM": ".pbm .pfm .pgm .pnm .ppm",
    "PSD": ".psd",
    "QOI": ".qoi",
    "SGI": ".bw .rgb .rgba .sgi",
    "SUN": ".ras",
    "TGA": ".icb .tga .vda .vst",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
    "XBM": ".xbm",
    "XPM": ".xpm",
}
EXTENSIONS = tuple(sorted(ending for endings in FORMATS.values() for ending in endings.split()))
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def images_below(root: Path) -> Iterator[Path]:
    """Names of images below root through links, each real folder once (links may loop); hidden ones are left out.

    What is found may be no file (a pipe would wait for ever). DataError: a folder that cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): allow it, or move it away")

    visited = {os.path.realpath(root)}
    for folder, children, names in os.walk(root, followlinks=True, onerror=unreadable):
        fresh = {child: os.path.realpath(Path(folder, child)) for child in sorted(children) if child[0] != "."}
        children[:] = []
        for child, real in fresh.items():
            if real not in visited:
                visited.add(real)
                children.append(child)
        yield from (Path(folder, n) for n in sorted(names) if n[0] != "." and Path(n).suffix.lower() in EXTENSIONS)


def decode_photo(source: Path | IO[bytes]) -> "Image.Image":
    """File -> RGB image, turned upright by its EXIF tag, transparency laid on white, 16 bits scaled to 8.

    DataError: why the file cannot be decoded (the caller knows its name). MissingPackage: a HEIC photo without pillow-heif.
    """
    return to_rgb(upright_photo(source), str(source) if isinstance(source, Path) else "a photo")


def upright_photo(source: Path | IO[bytes]) -> "Image.Image":
    """File -> Pillow image of its own mode, turned upright; of an animation the first frame. Raises as `decode_photo`."""
    from PIL import Image, ImageOps  # reading file names needs none of it

    try:
        with _open(source) as photo:
            photo.load()
            return ImageOps.exif_transpose(photo)
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


def to_rgb(photo: "Image.Image", name: str = "a photo") -> "Image.Image":
    """A Pillow image of any mode -> RGB: transparency laid on white, 16 bits and floats scaled to 8 bits."""
    from PIL import Image

    if photo.mode[0] in "IF":
        photo = _eight_bits(photo, name)
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    return photo.convert("RGB")


def turned(path: Path) -> bool:
    """Whether the pixels of a photo that can be decoded are stored otherwise than upright."""
    with _open(path) as photo:
        return photo.getexif().get(0x0112, 1) != 1


def _open(source: Path | IO[bytes]) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # whatever a file is called: some start programs
    try:
        return Image.open(source, formats=formats)
    except UnidentifiedImageError:
        with source.open("rb") if isinstance(source, Path) else source as stream:
            stream.seek(0)
            start = stream.read(12)
            if start[4:8] != b"ftyp" or start[8:] not in _HEIF_BRANDS:
                raise
            optional("pillow_heif", "heif", "a HEIC photo").register_heif_opener()
            stream.seek(0)
            photo = Image.open(stream, formats=["HEIF"])
            photo.load()  # before the stream closes
            return photo


def _eight_bits(photo: "Image.Image", name: str) -> "Image.Image":
    """Integer and float greyscale (modes I;16, I, F) -> L. Pillow's own conversion clips them to white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(photo, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError("holds values that are not numbers")
    top = values.max(initial=0)
    if photo.mode == "F":
        full = 1.0 if top <= 1 else 255.0 if top <= 255 else top
    else:
        full = 65535.0 if top <= 65535 else top
        if 255 < top < 8192:
            log.warning(
                "%s holds 16-bit values up to %d only and comes out dark: scale 10 to 12-bit data first", name, top
            )
    return Image.fromarray(np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8))


def pixel_hash(photo: "Image.Image") -> str:
    """sha256 of an image's size and pixels, however it is stored."""
    return sha256(f"{photo.size}".encode() + photo.tobytes())

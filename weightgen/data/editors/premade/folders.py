"""Reading pairs from folders: pix2pix's aligned AB images, or source/ and target/ folders."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.data.photos.copies import thumbnail
from weightgen.data.photos.decoding import decode_photo, images_below, pixel_hash, turned
from weightgen.errors import DataError
from weightgen.files import FileMemory

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

LAYOUTS = ("auto", "ab", "folders")
DIRECTIONS = ("a_to_b", "b_to_a")


@dataclass(frozen=True)
class Pair:
    """One aligned pair on disk; digests of both sides' pixels say whether two pairs are one, `picture`, the source's
    thumbnail in hexadecimal, whether two sources are copies. `halves`: which half of an AB image each side is, None for
    files of their own."""

    source: Path
    target: Path
    source_digest: str
    target_digest: str
    picture: str
    halves: tuple[str, str] | None = None

    def read(self, size: int) -> "tuple[Tensor, Tensor]":
        """-> source, target: uint8 (3, size, size), the same central square of both."""
        source, target = self.images()
        return _square(source, size), _square(target, size)

    def images(self) -> "tuple[Image.Image, Image.Image]":
        """-> source, target: RGB, of one size."""
        if self.halves:
            both = _open(self.source)
            return _half(both, self.halves[0]), _half(both, self.halves[1])
        return _open(self.source), _open(self.target)


def _open(path: Path) -> "Image.Image":
    if path.exists() and not path.is_file():
        raise DataError(f"pair image {path}: is no regular file; remove it")
    try:
        return decode_photo(path)
    except DataError as error:
        raise DataError(f"pair image {path}: {error}; replace or remove it") from error


def _half(image: "Image.Image", side: str) -> "Image.Image":
    half = image.width // 2
    return image.crop((0, 0, half, image.height) if side == "a" else (half, 0, 2 * half, image.height))


def _square(image: "Image.Image", size: int) -> "Tensor":
    import numpy as np
    import torch
    from PIL import Image

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.BICUBIC) if side != size else square
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def _look(path: Path) -> dict[str, Any]:
    """Size of an image; [pixel digest, thumbnail] of it, and of its halves if it has two."""
    image = _open(path)
    found: dict[str, Any] = {"size": list(image.size), "whole": _known(image), "turned": turned(path)}
    if image.width % 2 == 0:
        found |= {side: _known(_half(image, side)) for side in "ab"}
    return found


def _known(image: "Image.Image") -> list[str]:
    return [pixel_hash(image), thumbnail(image).hex()]


@dataclass(frozen=True)
class PairReader:
    """Finds the pairs of a concept's folder.

    layout: auto, ab (every image below is A left, B right), or folders (subfolders `source` and `target`, files paired by
    path without the ending). auto reads folders where one of the two is there, else AB images, then of two squares.
    direction: of AB images, which half is the source.
    """

    layout: str = "auto"
    direction: str = "a_to_b"
    source: str = "source"
    target: str = "target"
    least: int = 16  # px, shorter side of a photo

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS or self.direction not in DIRECTIONS:
            raise DataError(
                f"editor.layout={self.layout}, editor.direction={self.direction}: choose one of "
                f"{', '.join(LAYOUTS)}, and {' or '.join(DIRECTIONS)}"
            )

    def pairs(self, folder: Path, memory: FileMemory) -> list[Pair]:
        """The concept's pairs, each once. DataError names the file that has no partner, another size or shape."""
        there = [(folder / name).is_dir() for name in (self.source, self.target)]
        both = any(there) if self.layout == "auto" else self.layout == "folders"
        if both and not all(there):
            lacking = folder / (self.target if there[0] else self.source)
            raise DataError(f"concept folder {folder}: {lacking} is missing; give {self.source}/ and {self.target}/")
        found = self._folders(folder, memory) if both else self._aligned(folder, memory)
        return list({(pair.source_digest, pair.target_digest): pair for pair in found}.values())

    def _aligned(self, folder: Path, memory: FileMemory) -> Iterator[Pair]:
        first, second = self.direction.split("_to_")
        for path in images_below(folder):
            about = memory.about(path, _look)
            width, height = about["size"]
            if width % 2:
                raise DataError(f"pair image {path}: {width} px wide, so it has no two equal halves A|B")
            if self.layout == "auto" and width != 2 * height:
                raise DataError(
                    f"pair image {path}: {width} x {height} px are not two squares side by side (A|B); say "
                    f"editor.layout=ab if its halves are a pair, or give folders {self.source}/ and {self.target}/"
                )
            self._large_enough(path, width // 2, height)
            yield Pair(path, path, about[first][0], about[second][0], about[first][1], (first, second))

    def _folders(self, folder: Path, memory: FileMemory) -> Iterator[Pair]:
        sources, targets = (self._by_stem(folder / name) for name in (self.source, self.target))
        lonely = sorted(sources.keys() ^ targets.keys())
        if lonely:
            stem = lonely[0]
            path, other = (sources[stem], self.target) if stem in sources else (targets[stem], self.source)
            raise DataError(
                f"pair image {path} has no partner in {folder / other} ({len(sources)} files in {self.source}/, "
                f"{len(targets)} in {self.target}/, {len(lonely)} without partner): add it or remove this one"
            )
        for stem, source in sources.items():
            target = targets[stem]
            left, right = memory.about(source, _look), memory.about(target, _look)
            if bool(left.get("turned")) != bool(right.get("turned")):
                raise DataError(
                    f"pair image {target}: of it and its source {source} one alone is turned by its EXIF orientation, so "
                    "that the two may not lie on one another: save both upright"
                )
            if left["size"] != right["size"]:
                raise DataError(
                    f"pair image {target}: {' x '.join(map(str, right['size']))} px, but its source {source} has "
                    f"{' x '.join(map(str, left['size']))}; make them equal"
                )
            self._large_enough(source, *left["size"])
            yield Pair(source, target, left["whole"][0], right["whole"][0], left["whole"][1])

    def _by_stem(self, folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in images_below(folder):
            stem = unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
            if stem in found:
                raise DataError(f"pair images {found[stem]} and {path} have one name; rename or remove one")
            found[stem] = path
        return found

    def _large_enough(self, path: Path, width: int, height: int) -> None:
        if min(width, height) < self.least:
            raise DataError(
                f"pair image {path}: a photo of {width} x {height} px is too small; {self.least} px is the least here"
            )

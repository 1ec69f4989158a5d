"""Photos: random square crops, train and test never from the same ground."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weightgen.data.decoding import decode_photo, photo_extensions
from weightgen.errors import DataError


@dataclass(frozen=True)
class PhotoSet:
    """train: (N, 3, S, S), test: (M, 3, S, S), uint8; names: the photo of each crop, train's, then test's."""

    train: Tensor
    test: Tensor
    names: tuple[str, ...]
    attribution: str = ""


def _check_counts(size: int, train: int, test: int, min_scale: float) -> None:
    if size < 16 or train < 1 or test < 1:
        raise DataError(
            f"photos: size={size}, train={train}, test={test}; want size >= 16 and at least one crop of each"
        )
    if not 0 < min_scale <= 1:
        raise DataError(f"photos.min_scale={min_scale}: a crop's side as a share of the photo's, in (0, 1]")


def _cut(photo: Image.Image, size: int, min_scale: float, rng: np.random.Generator) -> Tensor:
    """A random square of the photo -> (3, size, size) uint8.

    Its side is uniform between min_scale x short side and the whole short side, and never below
    `size` where the photo allows: enlarged crops would teach blur.
    """
    short = min(photo.size)
    side = rng.uniform(max(min_scale * short, min(size, short)), short)
    x, y = rng.random() * (photo.width - side), rng.random() * (photo.height - side)
    crop = photo.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1)


def _sha256(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


class BundledPhotos:
    """Six photos that ship inside scikit-image and scikit-learn; nothing is downloaded.

    Disjoint regions: train crops lie in the left two thirds of each photo, test crops in the right third.
    """

    attribution = (
        "astronaut: NASA, public domain. coffee: Rachel Michetti, CC0. chelsea: Stefan van der Walt, CC0. "
        "rocket: SpaceX, CC0 (these four from scikit-image). "
        "china: danielbuechele, CC BY 2.0, flickr.com/photos/danielbuechele/6061409035. "
        "flower: vultilion, CC BY 2.0, flickr.com/photos/vultilion/6056698931 (both from scikit-learn)."
    )
    _SOURCES = (
        ("skimage.data", "astronaut.png"),
        ("skimage.data", "coffee.png"),
        ("skimage.data", "chelsea.png"),
        ("skimage.data", "rocket.jpg"),
        ("sklearn.datasets.images", "china.jpg"),
        ("sklearn.datasets.images", "flower.jpg"),
    )

    def __init__(self, size: int, train: int, test: int, seed: int = 0, min_scale: float = 0.35) -> None:
        _check_counts(size, train, test, min_scale)
        self.size, self.train, self.test = size, train, test
        self.seed, self.min_scale = seed, min_scale

    def _read(self) -> list[tuple[str, bytes]]:
        try:
            return [(name, (files(package) / name).read_bytes()) for package, name in self._SOURCES]
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise DataError(
                f"a bundled photo is missing ({error}); reinstall scikit-image and scikit-learn"
            ) from error

    def load(self) -> PhotoSet:
        """-> crops, the photos in turn; a function of the arguments alone."""
        photos = [(name, decode_photo(BytesIO(data))) for name, data in self._read()]
        train, train_names = self._crops(photos, self.train, split=0)
        test, test_names = self._crops(photos, self.test, split=1)
        return PhotoSet(train, test, (*train_names, *test_names), self.attribution)

    def _crops(
        self, photos: Sequence[tuple[str, Image.Image]], count: int, split: int
    ) -> tuple[Tensor, list[str]]:
        regions = []
        for _, photo in photos:
            border = round(photo.width * 2 / 3)
            # Cropped for good: resize(box=...) alone also weighs pixels just outside its box.
            left, right = (0, border) if split == 0 else (border, photo.width)
            regions.append(photo.crop((left, 0, right, photo.height)))
        crops, names = [], []
        for index in range(count):
            rng = np.random.default_rng([self.seed, split, index])
            crops.append(_cut(regions[index % len(regions)], self.size, self.min_scale, rng))
            names.append(photos[index % len(photos)][0])
        return torch.stack(crops), names

    def fingerprint(self) -> str:
        """sha256 over the six files' contents."""
        return _sha256("\n".join(_sha256(data) for _, data in self._read()))


class FolderPhotos:
    """Every photo under a folder: `test_fraction` of them, chosen by content hash, give test crops only.

    The split depends on a photo's bytes, not on its name or on the other photos, so that it survives
    renaming and adding; copies count once. Only if one side would be empty does the nearest change sides.
    """

    def __init__(
        self,
        root: str | Path,
        size: int,
        train: int,
        test: int,
        seed: int = 0,
        test_fraction: float = 0.3,
        skip_bad: bool = False,
        min_scale: float = 0.5,
    ) -> None:
        _check_counts(size, train, test, min_scale)
        if not 0 < test_fraction < 1:
            raise DataError(
                f"photos.test_fraction={test_fraction}: the share of photos kept for testing, in (0, 1)"
            )
        self.root = Path(root).expanduser()
        self.size, self.train, self.test = size, train, test
        self.seed, self.test_fraction, self.skip_bad, self.min_scale = (
            seed,
            test_fraction,
            skip_bad,
            min_scale,
        )
        self.skipped: list[tuple[Path, str]] = []

    @cached_property
    def _photos(self) -> dict[str, Path]:
        """Content hash -> path, by ascending hash; of copies the first path."""
        if not self.root.is_dir():
            raise DataError(f"photos.root: {self.root} is not a folder; point it at a folder of photos")
        found: dict[str, Path] = {}
        for path in sorted(_walk(self.root)):
            try:
                found.setdefault(_sha256(path.read_bytes()), path)
            except OSError as error:
                self._bad(path, f"cannot be read ({error.strerror})")
        if not found:
            raise DataError(
                f"photos.root: no images under {self.root} (looked for {', '.join(photo_extensions())})"
            )
        return dict(sorted(found.items()))

    def fingerprint(self) -> str:
        """sha256 over the sorted content hashes: names and places of the files do not matter."""
        return _sha256("\n".join(self._photos))

    def _bad(self, path: Path, reason: str) -> None:
        if not self.skip_bad:
            raise DataError(f"photo {path}: {reason}; remove it, or set photos.skip_bad=true")
        if (path, reason) not in self.skipped:
            self.skipped.append((path, reason))

    def _open(self, path: Path) -> Image.Image | None:
        try:
            photo = decode_photo(path)
        except DataError as error:
            self._bad(path, str(error))
            return None
        if min(photo.size) < self.size / 2:
            self._bad(path, f"{photo.width} x {photo.height} px is too small for crops of {self.size} px")
            return None
        return photo

    def load(self) -> PhotoSet:
        """-> crops, several of a photo if photos are fewer than crops; a function of content and arguments.

        DataError: no folder, no images, under 2 distinct photos; a broken or too small photo unless skip_bad.
        """
        photos = list(self._photos.items())
        if self.skip_bad:  # which photos are good decides the split, so every one is opened once before
            photos = [(digest, path) for digest, path in photos if self._open(path) is not None]
        if len(photos) < 2:
            raise DataError(
                f"{len(photos)} usable distinct photo(s) under {self.root}; add some: train and test need one"
            )
        border = sum(int(digest[:13], 16) / 16**13 < self.test_fraction for digest, _ in photos)
        border = min(max(border, 1), len(photos) - 1)
        train, train_names = self._crops(photos[border:], self.train, split=0)
        test, test_names = self._crops(photos[:border], self.test, split=1)
        return PhotoSet(train, test, (*train_names, *test_names))

    def _crops(self, photos: list[tuple[str, Path]], count: int, split: int) -> tuple[Tensor, list[str]]:
        order = sorted(photos, key=lambda item: _sha256(f"{self.seed}/{item[0]}"))
        crops = torch.empty(count, 3, self.size, self.size, dtype=torch.uint8)
        for place, (_, path) in enumerate(order[:count]):
            photo = self._open(path)
            for index in range(place, count, len(order)):  # each photo is opened once for all its crops
                rng = np.random.default_rng([self.seed, split, index])
                crops[index] = _cut(photo, self.size, self.min_scale, rng)
        names = [order[index % len(order)][1].relative_to(self.root).as_posix() for index in range(count)]
        return crops, names


def _walk(root: Path) -> Iterator[Path]:
    """Images below root through links, each real folder once (links may loop); hidden ones are left out."""
    extensions, visited = set(photo_extensions()), {os.path.realpath(root)}
    for folder, children, names in os.walk(root, followlinks=True):
        fresh = {
            child: os.path.realpath(Path(folder, child)) for child in sorted(children) if child[0] != "."
        }
        children[:] = []
        for child, real in fresh.items():
            if real not in visited:
                visited.add(real)
                children.append(child)
        yield from (
            path
            for path in (Path(folder, n) for n in names)
            if path.name[0] != "." and path.suffix.lower() in extensions
        )

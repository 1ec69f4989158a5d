"""Photos: random square crops, train and test never from the same ground."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weightgen.data.photos.crops import random_crop
from weightgen.data.photos.decoding import decode_photo, photo_extensions
from weightgen.data.photos.photo_set import PhotoSet, check_counts
from weightgen.data.photos.pool import PhotoPool
from weightgen.errors import DataError
from weightgen.files import sha256


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
        check_counts(size, train, test, min_scale)
        self.size, self.train, self.test = size, train, test
        self.seed, self.min_scale = seed, min_scale

    def _read(self) -> list[tuple[str, bytes]]:
        try:
            return [(name, (files(package) / name).read_bytes()) for package, name in self._SOURCES]
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise DataError(f"a bundled photo is missing ({error}); reinstall scikit-image and scikit-learn") from error

    def load(self) -> PhotoSet:
        """-> crops, the photos in turn; a function of the arguments alone."""
        photos = [(name, decode_photo(BytesIO(data))) for name, data in self._read()]
        train, train_names = self._crops(photos, self.train, split=0)
        test, test_names = self._crops(photos, self.test, split=1)
        return PhotoSet(train, test, (*train_names, *test_names), self.attribution)

    def _crops(self, photos: Sequence[tuple[str, Image.Image]], count: int, split: int) -> tuple[Tensor, list[str]]:
        regions = []
        for _, photo in photos:
            border = round(photo.width * 2 / 3)
            # Cropped for good: resize(box=...) alone also weighs pixels just outside its box.
            left, right = (0, border) if split == 0 else (border, photo.width)
            regions.append(photo.crop((left, 0, right, photo.height)))
        crops, names = [], []
        for index in range(count):
            rng = np.random.default_rng([self.seed, split, index])
            crops.append(random_crop(regions[index % len(regions)], self.size, self.min_scale, rng))
            names.append(photos[index % len(photos)][0])
        return torch.stack(crops), names

    def fingerprint(self) -> str:
        """sha256 over the six files' contents."""
        return sha256("\n".join(sha256(data) for _, data in self._read()))


class FolderPhotos(PhotoPool):
    """Every photo under a folder, links and nested folders included; see PhotoPool."""

    def __init__(self, root: str | Path, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.root = Path(root).expanduser()
        self.place = f"under {self.root}"

    @cached_property
    def photos(self) -> dict[str, Path]:
        """Content hash -> path, by ascending hash; of copies the first path."""
        if not self.root.is_dir():
            raise DataError(f"photos.root: {self.root} is not a folder; point it at a folder of photos")
        found: dict[str, Path] = {}
        for path in sorted(_walk(self.root)):
            try:
                found.setdefault(sha256(path.read_bytes()), path)
            except OSError as error:
                self.bad(path, f"cannot be read ({error.strerror})")
        if not found:
            raise DataError(f"photos.root: no images under {self.root} (looked for {', '.join(photo_extensions())})")
        return dict(sorted(found.items()))

    def fingerprint(self) -> str:
        """sha256 over the sorted content hashes: names and places of the files do not matter."""
        return sha256("\n".join(self.photos))

    def decode(self, item: Path) -> Image.Image:
        return decode_photo(item)

    def label(self, item: Path) -> str:
        return item.relative_to(self.root).as_posix()


def _walk(root: Path) -> Iterator[Path]:
    """Images below root through links, each real folder once (links may loop); hidden ones are left out."""
    extensions, visited = set(photo_extensions()), {os.path.realpath(root)}
    for folder, children, names in os.walk(root, followlinks=True):
        fresh = {child: os.path.realpath(Path(folder, child)) for child in sorted(children) if child[0] != "."}
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

"""Photos of the data sets of faces and landscapes that torchvision downloads."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weightgen.data.photos.pool import PhotoPool
from weightgen.errors import DataError, MissingModel
from weightgen.files import sha256
from weightgen.network import require_network

SETS: dict[str, dict[str, Any]] = {  # class in torchvision.datasets -> its options
    "LFWPeople": {"split": "10fold", "image_set": "original"},  # faces, 13 233 of 250 px
    "CelebA": {"split": "all"},  # faces, 202 599 of 178 x 218 px
    "Places365": {"split": "val", "small": True},  # scenes, 36 500 of 256 px
    "SUN397": {},  # scenes, 108 754 of 200 px and more
}
PROBED = 16  # images whose pixels enter the fingerprint


@dataclass(frozen=True)
class Member:
    """An image of the set by its number."""

    number: int
    of: str

    def __str__(self) -> str:
        return f"{self.of}[{self.number}]"


class TorchvisionPhotos(PhotoPool):
    """`limit` images of one set, drawn by `seed`; see PhotoPool. A photo's content is its pixels.

    dataset: LFWPeople or CelebA (faces), Places365 or SUN397 (landscapes and scenes). root: where it lies, in torchvision's
    layout. download: fetch it where it is missing.
    """

    def __init__(
        self, dataset: str, root: str | Path, *args: Any, download: bool = False, limit: int = 2000, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        if dataset not in SETS:
            raise DataError(f"photos.dataset={dataset}: use one of {', '.join(SETS)}, or photos=folder")
        if limit < 2:
            raise DataError(f"photos.limit={limit}: how many images to draw, 2 or more")
        self.dataset, self.root = dataset, Path(root).expanduser()
        self.download, self.limit = download, limit
        self.place = f"in {dataset} under {self.root}"

    @cached_property
    def _images(self) -> Any:
        """The data set: item i is (image, target)."""
        from torchvision import datasets

        make = getattr(datasets, self.dataset)
        try:
            return make(str(self.root), download=False, **SETS[self.dataset])
        except (RuntimeError, OSError) as missing:
            if not self.download:
                raise MissingModel(
                    f"{self.dataset} is not under {self.root} ({_line(missing)}): set photos.download=true, which needs a "
                    "network, or photos.root=<folder that holds it>, or use photos=folder"
                ) from missing
        try:
            require_network("https://pytorch.org")
            return make(str(self.root), download=True, **SETS[self.dataset])
        except (RuntimeError, OSError, ImportError, ValueError) as error:
            raise MissingModel(
                f"{self.dataset} cannot be downloaded to {self.root} ({_line(error)}): connect and run again, put it there "
                "by hand and set photos.download=false, or use photos=folder"
            ) from error

    @cached_property
    def _members(self) -> list[Member]:
        chosen = np.random.default_rng(self.seed).permutation(len(self._images))[: self.limit]
        return [Member(int(number), self.dataset) for number in sorted(chosen)]

    def fingerprint(self) -> str:
        """Of the set's size and 16 of its images: these sets are published once and never change."""
        members = self._members[:: max(1, len(self._members) // PROBED)]
        return sha256("\n".join([str(len(self._images)), *(self._digest(self.decode(m)) for m in members)]))

    @cached_property
    def photos(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        for member in self._members:
            try:
                found.setdefault(self._digest(self.decode(member)), member)
            except DataError as error:
                self.bad(member, str(error))
        return dict(sorted(found.items()))

    def decode(self, item: Member) -> Image.Image:
        try:
            return self._images[item.number][0].convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"cannot be decoded ({_line(error)})") from error

    @staticmethod
    def _digest(photo: Image.Image) -> str:
        return sha256(f"{photo.size}".encode() + photo.tobytes())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

"""A pool of photos, each known by its content, and the crops that train and test take of it."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weightgen.data.photos.crops import ONE_A_PHOTO, crop_named
from weightgen.data.photos.photo_set import PhotoSet, check_counts
from weightgen.errors import DataError
from weightgen.files import sha256


class PhotoPool:
    """`test_fraction` of the photos, chosen by content hash, give test crops only.

    The split depends on a photo's content, not on its name, its crops or the other photos, so that it survives
    renaming and adding; copies count once. Only if one side would be empty does the nearest change sides.
    crop: random, central (one a photo) or face_agnostic (see weightgen.data.photos.crops).

    A kind of pool says where its photos are: `photos`, `decode`, `label`, `place`.
    """

    place = "here"
    photos: dict[str, Any]  # content hash -> item, by ascending hash

    def __init__(
        self,
        size: int,
        train: int,
        test: int,
        seed: int = 0,
        test_fraction: float = 0.3,
        skip_bad: bool = False,
        min_scale: float = 0.5,
        crop: str = "random",
    ) -> None:
        check_counts(size, train, test, min_scale)
        if not 0 < test_fraction < 1:
            raise DataError(f"photos.test_fraction={test_fraction}: the share of photos kept for testing, in (0, 1)")
        self.size, self.train, self.test = size, train, test
        self.seed, self.test_fraction = seed, test_fraction
        self.skip_bad, self.min_scale = skip_bad, min_scale
        self.crop, self._cut = crop, crop_named(crop)
        self.skipped: list[tuple[Any, str]] = []

    def decode(self, item: Any) -> Image.Image:
        """The photo as RGB. DataError: why it cannot be had."""
        raise TypeError(f"{type(self).__name__} decodes nothing")

    def label(self, item: Any) -> str:
        return str(item)

    def bad(self, item: Any, reason: str) -> None:
        """DataError naming the photo, or note it where bad ones are skipped."""
        if not self.skip_bad:
            raise DataError(f"photo {item}: {reason}; remove it, or set photos.skip_bad=true")
        if (item, reason) not in self.skipped:
            self.skipped.append((item, reason))

    def _open(self, item: Any) -> Image.Image | None:
        try:
            photo = self.decode(item)
        except DataError as error:
            self.bad(item, str(error))
            return None
        if min(photo.size) < self.size / 2:
            self.bad(item, f"{photo.width} x {photo.height} px is too small for crops of {self.size} px")
            return None
        return photo

    def load(self) -> PhotoSet:
        """-> crops, several of a photo if photos are fewer than crops; a function of content and arguments.

        DataError: no photos, under 2 distinct ones; a broken or too small photo unless skip_bad; too few for
        central crops.
        """
        photos = list(self.photos.items())
        if self.skip_bad:  # which photos are good decides the split, so every one is opened once before
            photos = [(digest, item) for digest, item in photos if self._open(item) is not None]
        if len(photos) < 2:
            raise DataError(f"{len(photos)} usable distinct photo(s) {self.place}; add some: train and test need one")
        border = sum(int(digest[:13], 16) / 16**13 < self.test_fraction for digest, _ in photos)
        border = min(max(border, 1), len(photos) - 1)
        for name, wanted, have in (("train", self.train, len(photos) - border), ("test", self.test, border)):
            if self.crop in ONE_A_PHOTO and wanted > have:
                raise DataError(
                    f"photos.crop={self.crop} takes one crop a photo: of {len(photos)} photos {have} are for {name} and "
                    f"photos.{name}={wanted}; lower it, add photos, or use photos.crop=random"
                )
        train, train_names = self._crops(photos[border:], self.train, split=0)
        test, test_names = self._crops(photos[:border], self.test, split=1)
        return PhotoSet(train, test, (*train_names, *test_names))

    def _crops(self, photos: list[tuple[str, Any]], count: int, split: int) -> tuple[Tensor, list[str]]:
        order = sorted(photos, key=lambda pair: sha256(f"{self.seed}/{pair[0]}"))
        crops = torch.empty(count, 3, self.size, self.size, dtype=torch.uint8)
        for place, (_, item) in enumerate(order[:count]):
            photo = self._open(item)
            for index in range(place, count, len(order)):  # each photo is opened once for all its crops
                rng = np.random.default_rng([self.seed, split, index])
                crops[index] = self._cut(photo, self.size, self.min_scale, rng)
        return crops, [self.label(order[index % len(order)][1]) for index in range(count)]

"""From some photos to crops with names: which photos are for which part, and what is cut out of each."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightgen.data.photos import copies
from weightgen.data.splits import PARTS, parts_of
from weightgen.errors import DataError
from weightgen.files import sha256

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

log = logging.getLogger(__name__)
CROPS = ("random", "central", "face_agnostic")
ONE_A_PHOTO = ("central",)
STREAMS = {"train": 0, "test": 1, "validation": 2}  # of the random places of each part's crops


@dataclass(frozen=True)
class Photo:
    """One photo of a source. name: for errors. label: what its crops are called. read: -> RGB; DataError: why it cannot."""

    name: str
    label: str
    read: "Callable[[], Image.Image]"


@dataclass(frozen=True)
class PhotoSet:
    """crops: part -> (N, 3, S, S) uint8; names: part -> the photo of each crop; report: counts for people."""

    crops: "Mapping[str, Tensor]"
    names: Mapping[str, Sequence[str]]
    attribution: str = ""
    report: Mapping[str, int] = field(default_factory=dict)


class PhotoSource:
    """Square crops of `size` px, `train`, `validation` and `test` of them, several of a photo if photos are fewer.

    min_scale: the least side of a crop, as a share of the photo's. Everything is a function of photos and arguments.
    """

    crop = "random"
    attribution = ""

    def __init__(
        self, size: int, train: int, validation: int, test: int, seed: int = 0, min_scale: float = 0.5
    ) -> None:
        if size < 16 or min(train, validation, test) < 1:
            raise DataError(
                f"photos: size={size}, train={train}, validation={validation}, test={test}; want size >= 16 and at "
                "least one crop of each"
            )
        if not 0 < min_scale <= 1:
            raise DataError(f"photos.min_scale={min_scale}: a crop's side as a share of the photo's, in (0, 1]")
        self.size, self.counts = size, {"train": train, "validation": validation, "test": test}
        self.seed, self.min_scale = seed, min_scale

    def cut(self, photos: Mapping[str, Sequence[Photo]], report: Mapping[str, int] | None = None) -> PhotoSet:
        """Crops of each part's photos in turn; the photos of two parts share no ground."""
        crops = {part: self._crops(photos[part], self.counts[part], STREAMS[part]) for part in PARTS}
        names = {
            part: [photos[part][index % len(photos[part])].label for index in range(len(crops[part]))] for part in PARTS
        }
        return PhotoSet(crops, names, self.attribution, report or {})

    def _crops(self, photos: Sequence[Photo], count: int, side: int) -> "Tensor":
        import numpy as np
        import torch

        from weightgen.data.photos.crops import CROPS

        crops = torch.empty(count, 3, self.size, self.size, dtype=torch.uint8)
        for place, photo in enumerate(photos[:count]):
            picture = self.open(photo)
            for index in range(place, count, len(photos)):  # each photo is opened once for all its crops
                rng = np.random.default_rng([self.seed, side, index])
                crops[index] = CROPS[self.crop](picture, self.size, self.min_scale, rng)
        return crops

    def open(self, photo: Photo) -> "Image.Image | None":
        return photo.read()


class PhotoPool(PhotoSource):
    """`test_fraction` of the photos, chosen by content hash, give test crops only, `validation_fraction` others validation.

    The split depends on a photo's content, not on its name, its crops or the other photos, so that it survives
    renaming and adding; equal files count once, and near copies (see weightgen.data.photos.copies) are in one part. Only
    if a part would be empty does the nearest change sides.
    crop: random, central (one a photo) or face_agnostic (see weightgen.data.photos.crops). skip_bad: leave photos that
    cannot be used out, noted in `skipped`, rather than raise.

    A kind of pool says which `photos` there are, and `place`, where it looked.
    """

    place = "here"
    photos: Mapping[str, Photo]  # content hash -> photo, by ascending hash

    def __init__(
        self,
        size: int,
        train: int,
        validation: int,
        test: int,
        seed: int = 0,
        test_fraction: float = 0.3,
        validation_fraction: float = 0.1,
        skip_bad: bool = False,
        min_scale: float = 0.5,
        crop: str = "random",
    ) -> None:
        super().__init__(size, train, validation, test, seed, min_scale)
        check_fractions("photos", test_fraction, validation_fraction)
        if crop not in CROPS:
            raise DataError(f"photos.crop={crop}: use one of {', '.join(CROPS)}")
        self.shares = {"test": test_fraction, "validation": validation_fraction}
        self.skip_bad, self.crop = skip_bad, crop
        self.skipped: dict[str, str] = {}  # name -> reason

    def bad(self, name: str, reason: str) -> None:
        """DataError naming the photo, or note it where bad ones are skipped."""
        if not self.skip_bad:
            raise DataError(f"photo {name}: {reason}; remove it, or set photos.skip_bad=true")
        self.skipped[name] = reason

    def open(self, photo: Photo) -> "Image.Image | None":
        """The photo; None where it cannot be used and bad ones are skipped."""
        try:
            picture = photo.read()
        except DataError as error:
            self.bad(photo.name, str(error))
            return None
        if min(picture.size) < self.size / 2:
            self.bad(photo.name, f"{picture.width} x {picture.height} px is too small for crops of {self.size} px")
            return None
        return picture

    def load(self) -> PhotoSet:
        """-> crops. DataError: no photos, under 3 distinct ones; a broken or too small photo unless skip_bad; too few for
        central crops."""
        pictures = ((digest, self.open(photo)) for digest, photo in self.photos.items())
        groups = copies.copies({digest: copies.thumbnail(photo) for digest, photo in pictures if photo is not None})
        distinct = sorted(set(groups.values()))
        if len(distinct) < len(PARTS):
            raise DataError(f"{len(distinct)} usable distinct photo(s) {self.place}; add some: each part needs one")
        log.info("%s", copies.told(groups))
        if self.skipped:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(self.skipped.items())[:5])
            log.warning(
                "%d photos are left out (%s%s)", len(self.skipped), some, "; ..." if len(self.skipped) > 5 else ""
            )
        parts = parts_of([distinct], self.shares, dict.fromkeys(PARTS, 1))
        order = sorted(groups, key=lambda digest: sha256(f"{self.seed}/{digest}"))
        photos = {part: [self.photos[d] for d in order if parts[groups[d]] == part] for part in PARTS}
        for name, have in photos.items():
            if self.crop in ONE_A_PHOTO and self.counts[name] > len(have):
                raise DataError(
                    f"photos.crop={self.crop} takes one crop a photo: of {len(groups)} photos {len(have)} are for {name} "
                    f"and photos.{name}={self.counts[name]}; lower it, add photos, or use photos.crop=random"
                )
        return self.cut(
            photos, {"photos": len(groups), "groups_of_copies": copies.count(groups), "left_out": len(self.skipped)}
        )


def check_fractions(where: str, test: float, validation: float) -> None:
    """DataError unless both are shares that leave some photos to train on."""
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        raise DataError(
            f"{where}.test_fraction={test}, {where}.validation_fraction={validation}: shares of the photos in (0, 1), "
            "together below 1"
        )

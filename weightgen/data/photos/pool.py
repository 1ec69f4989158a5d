"""From some photos to crops with names: which photos are for testing, and what is cut out of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightgen.data.splits import hold_out
from weightgen.errors import DataError
from weightgen.files import sha256

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

CROPS = ("random", "central", "face_agnostic")
ONE_A_PHOTO = ("central",)


@dataclass(frozen=True)
class Photo:
    """One photo of a source. name: for errors. label: what its crops are called. read: -> RGB; DataError: why it cannot."""

    name: str
    label: str
    read: "Callable[[], Image.Image]"


@dataclass(frozen=True)
class PhotoSet:
    """train: (N, 3, S, S), test: (M, 3, S, S), uint8; names: the photo of each crop, train's, then test's."""

    train: "Tensor"
    test: "Tensor"
    names: tuple[str, ...]
    attribution: str = ""


class PhotoSource:
    """Square crops of `size` px, `train` and `test` of them, several of a photo if photos are fewer than crops.

    min_scale: the least side of a crop, as a share of the photo's. Everything is a function of photos and arguments.
    """

    crop = "random"
    attribution = ""

    def __init__(self, size: int, train: int, test: int, seed: int = 0, min_scale: float = 0.5) -> None:
        if size < 16 or train < 1 or test < 1:
            raise DataError(
                f"photos: size={size}, train={train}, test={test}; want size >= 16 and at least one crop of each"
            )
        if not 0 < min_scale <= 1:
            raise DataError(f"photos.min_scale={min_scale}: a crop's side as a share of the photo's, in (0, 1]")
        self.size, self.train, self.test = size, train, test
        self.seed, self.min_scale = seed, min_scale

    def cut(self, train: Sequence[Photo], test: Sequence[Photo]) -> PhotoSet:
        """Crops of the photos in turn; the photos of the two sides share no ground."""
        first, first_labels = self._crops(train, self.train, side=0)
        second, second_labels = self._crops(test, self.test, side=1)
        return PhotoSet(first, second, (*first_labels, *second_labels), self.attribution)

    def _crops(self, photos: Sequence[Photo], count: int, side: int) -> "tuple[Tensor, list[str]]":
        import numpy as np
        import torch

        from weightgen.data.photos.crops import CROPS

        crops = torch.empty(count, 3, self.size, self.size, dtype=torch.uint8)
        for place, photo in enumerate(photos[:count]):
            picture = self.open(photo)
            for index in range(place, count, len(photos)):  # each photo is opened once for all its crops
                rng = np.random.default_rng([self.seed, side, index])
                crops[index] = CROPS[self.crop](picture, self.size, self.min_scale, rng)
        return crops, [photos[index % len(photos)].label for index in range(count)]

    def open(self, photo: Photo) -> "Image.Image | None":
        return photo.read()


class PhotoPool(PhotoSource):
    """`test_fraction` of the photos, chosen by content hash, give test crops only.

    The split depends on a photo's content, not on its name, its crops or the other photos, so that it survives
    renaming and adding; copies count once. Only if one side would be empty does the nearest change sides.
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
        test: int,
        seed: int = 0,
        test_fraction: float = 0.3,
        skip_bad: bool = False,
        min_scale: float = 0.5,
        crop: str = "random",
    ) -> None:
        super().__init__(size, train, test, seed, min_scale)
        if not 0 < test_fraction < 1:
            raise DataError(f"photos.test_fraction={test_fraction}: the share of photos kept for testing, in (0, 1)")
        if crop not in CROPS:
            raise DataError(f"photos.crop={crop}: use one of {', '.join(CROPS)}")
        self.test_fraction, self.skip_bad, self.crop = test_fraction, skip_bad, crop
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
        """-> crops. DataError: no photos, under 2 distinct ones; a broken or too small photo unless skip_bad; too few for
        central crops."""
        photos = dict(self.photos)
        if self.skip_bad:  # which photos are good decides the split, so every one is opened once before
            photos = {digest: photo for digest, photo in photos.items() if self.open(photo) is not None}
        if len(photos) < 2:
            raise DataError(f"{len(photos)} usable distinct photo(s) {self.place}; add some: train and test need one")
        held = hold_out([list(photos)], self.test_fraction, least={"train": 1, "test": 1})
        order = sorted(photos, key=lambda digest: sha256(f"{self.seed}/{digest}"))
        train, test = ([photos[d] for d in order if (d in held) == side] for side in (False, True))
        for name, wanted, have in (("train", self.train, len(train)), ("test", self.test, len(test))):
            if self.crop in ONE_A_PHOTO and wanted > have:
                raise DataError(
                    f"photos.crop={self.crop} takes one crop a photo: of {len(photos)} photos {have} are for {name} and "
                    f"photos.{name}={wanted}; lower it, add photos, or use photos.crop=random"
                )
        return self.cut(train, test)

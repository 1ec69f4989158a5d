"""Photos that are installed with other packages; nothing is downloaded."""

from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from weightgen.data.photos.decoding import decode_photo
from weightgen.data.photos.pool import Photo, PhotoSet, PhotoSource
from weightgen.errors import DataError
from weightgen.files import sha256

if TYPE_CHECKING:
    from PIL import Image

REGIONS = {"train": (0, 1 / 2), "validation": (1 / 2, 2 / 3), "test": (2 / 3, 1)}  # of the width, from the left


SOURCES = (  # package -> file below it
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)


def bundled_files() -> list[Path]:
    """The files of the six photos. DataError: one is missing."""
    found = []
    for package, name in SOURCES:
        spec = find_spec(package)  # finds it without the seconds that importing it takes
        file = Path(spec.origin).parent / name if spec and spec.origin else None
        if file is None or not file.is_file():
            raise DataError(f"the bundled photo {package}/{name} is missing; reinstall scikit-image and scikit-learn")
        found.append(file)
    return found


class BundledPhotos(PhotoSource):
    """Six photos that ship inside scikit-image and scikit-learn.

    Disjoint regions: train crops lie in the left half of each photo, test crops in the right third, validation crops
    between them.
    """

    attribution = (
        "astronaut: NASA, public domain. coffee: Rachel Michetti, CC0. chelsea: Stefan van der Walt, CC0. "
        "rocket: SpaceX, CC0 (these four from scikit-image). "
        "china: danielbuechele, CC BY 2.0, flickr.com/photos/danielbuechele/6061409035. "
        "flower: vultilion, CC BY 2.0, flickr.com/photos/vultilion/6056698931 (both from scikit-learn)."
    )

    def __init__(
        self, size: int, train: int, validation: int, test: int, seed: int = 0, min_scale: float = 0.35
    ) -> None:
        super().__init__(size, train, validation, test, seed, min_scale)

    def _read(self) -> list[tuple[str, bytes]]:
        return [(file.name, file.read_bytes()) for file in bundled_files()]

    def fingerprint(self) -> str:
        """sha256 over the six files' contents."""
        return sha256("\n".join(sha256(data) for _, data in self._read()))

    def load(self) -> PhotoSet:
        """-> crops, the photos in turn; a function of the arguments alone."""
        photos = self._read()
        return self.cut(
            {
                part: [Photo(n, n, partial(_region, data, *sides)) for n, data in photos]
                for part, sides in REGIONS.items()
            }
        )


def _region(data: bytes, left: float, right: float) -> "Image.Image":
    """Cropped for good: resize(box=...) alone also weighs pixels just outside its box."""
    photo = decode_photo(BytesIO(data))
    return photo.crop((round(photo.width * left), 0, round(photo.width * right), photo.height))

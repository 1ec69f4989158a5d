"""Photos of the data sets of faces and landscapes that torchvision downloads."""

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.data.photos.decoding import pixel_hash
from weightgen.data.photos.pool import Photo, PhotoPool
from weightgen.errors import DataError, MissingModel
from weightgen.files import sha256
from weightgen.network import require_network

if TYPE_CHECKING:
    from PIL import Image

SETS: dict[str, tuple[str, dict[str, Any]]] = {  # class in torchvision.datasets -> where its images lie, its options
    "LFWPeople": ("lfw-py/lfw", {"split": "10fold", "image_set": "original"}),  # faces, 13 233 of 250 px
    "CelebA": ("celeba/img_align_celeba", {"split": "all"}),  # faces, 202 599 of 178 x 218 px
    "Places365": ("val_256", {"split": "val", "small": True}),  # scenes, 36 500 of 256 px
    "SUN397": ("SUN397", {}),  # scenes, 108 754 of 200 px and more
}


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

        make, options = getattr(datasets, self.dataset), SETS[self.dataset][1]
        try:
            return make(str(self.root), download=False, **options)
        except (RuntimeError, OSError) as missing:
            if not self.download:
                raise MissingModel(
                    f"{self.dataset} is not under {self.root} ({_line(missing)}): set photos.download=true, which needs a "
                    "network, or photos.root=<folder that holds it>, or use photos=folder"
                ) from missing
        try:
            require_network("https://pytorch.org")
            return make(str(self.root), download=True, **options)
        except (RuntimeError, OSError, ImportError, ValueError) as error:
            raise MissingModel(
                f"{self.dataset} cannot be downloaded to {self.root} ({_line(error)}): connect and run again, put it there "
                "by hand and set photos.download=false, or use photos=folder"
            ) from error

    def fingerprint(self) -> str:
        """Of the names and sizes of the set's images: these sets are published once and never change."""
        folder = self.root / SETS[self.dataset][0]
        if not folder.is_dir():
            len(self._images)  # downloads it, or says that it is missing
        found = sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in folder.rglob("*.jpg"))
        return sha256("\n".join(f"{name} {size}" for name, size in found))

    @cached_property
    def photos(self) -> dict[str, Photo]:
        import numpy as np

        found: dict[str, Photo] = {}
        for number in sorted(np.random.default_rng(self.seed).permutation(len(self._images))[: self.limit].tolist()):
            photo = Photo(f"{self.dataset}[{number}]", f"{self.dataset}[{number}]", partial(self._decode, number))
            try:
                found.setdefault(pixel_hash(photo.read()), photo)
            except DataError as error:
                self.bad(photo.name, str(error))
        return dict(sorted(found.items()))

    def _decode(self, number: int) -> "Image.Image":
        try:
            return self._images[number][0].convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"cannot be decoded ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

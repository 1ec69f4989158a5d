"""Photos of a folder of the user's own."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

from weightgen.data.photos.decoding import EXTENSIONS, decode_photo, images_below
from weightgen.data.photos.pool import Photo, PhotoPool
from weightgen.errors import DataError
from weightgen.files import content_hash, sha256


class FolderPhotos(PhotoPool):
    """Every photo under a folder, links and nested folders included; see PhotoPool."""

    def __init__(self, root: str | Path, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.root = Path(root).expanduser()
        self.place = f"under {self.root}"

    @cached_property
    def photos(self) -> dict[str, Photo]:
        """Of copies the first path."""
        if not self.root.is_dir():
            raise DataError(f"photos.root: {self.root} is not a folder; point it at a folder of photos")
        found: dict[str, Photo] = {}
        for path in sorted(images_below(self.root)):
            label = path.relative_to(self.root).as_posix()
            if path.exists() and not path.is_file():
                self.bad(str(path), "is no regular file")
                continue
            try:
                found.setdefault(content_hash(path), Photo(str(path), label, partial(decode_photo, path)))
            except OSError as error:
                self.bad(str(path), f"cannot be read ({error.strerror})")
        if not found:
            raise DataError(f"photos.root: no images under {self.root} (looked for {', '.join(EXTENSIONS)})")
        return dict(sorted(found.items()))

    def fingerprint(self) -> str:
        """sha256 over the sorted content hashes: names and places of the files do not matter."""
        return sha256("\n".join(self.photos))

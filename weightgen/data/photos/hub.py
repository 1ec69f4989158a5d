"""Photos of a Hugging Face data set, from the hub or from local files in its formats."""

from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

from weightgen.data.hub import hub_set, local_set, stored_image, stored_rows
from weightgen.data.photos.decoding import decode_photo
from weightgen.data.photos.pool import Photo, PhotoPool
from weightgen.errors import DataError
from weightgen.files import content_hash, sha256


class HubPhotos(PhotoPool):
    """The first `limit` distinct images of one column; see PhotoPool. They are held in memory as they are stored.

    repo: a hub id, with `revision` (a branch, a tag or, so that nothing can change, a commit) and `config`; or root: a
    Parquet file, a folder of them, or a folder that datasets' save_to_disk wrote. streaming: read no more of a hub
    set than is needed; false: download it whole, so that it serves offline later.
    """

    def __init__(
        self,
        *args: Any,
        repo: str | None = None,
        root: str | Path | None = None,
        column: str = "image",
        split: str = "train",
        config: str | None = None,
        revision: str | None = None,
        streaming: bool = True,
        limit: int = 2000,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        if (repo is None) == (root is None):
            raise DataError("photos=hub: give photos.repo=<hub id> or photos.root=<local Parquet file or folder>")
        if limit < 2:
            raise DataError(f"photos.limit={limit}: how many images to take, 2 or more")
        self.repo, self.root = repo, None if root is None else Path(root).expanduser()
        self.column, self.split, self.config, self.revision = column, split, config, revision
        self.streaming, self.limit = streaming, limit
        self.name = repo or str(self.root)
        self.place = f"in {self.name}"

    def fingerprint(self) -> str:
        """Of local files their content; of a hub set its name and revision: what was read of it once stays."""
        if self.root is None:
            return sha256(f"{self.repo}@{self.revision}")
        if not self.root.exists():
            raise DataError(f"photos.root: {self.root} does not exist; give a Parquet file or a folder of them")
        return content_hash(self.root)

    @cached_property
    def photos(self) -> dict[str, Photo]:
        found: dict[str, Photo] = {}
        try:
            for number, row in enumerate(stored_rows(self._set(), [self.column], self.name, "set photos.column")):
                label, content = f"row {number} of {self.name}", stored_image(row[self.column])
                if content is None:
                    self.bad(label, f"column {self.column!r} holds no image")
                    continue
                found.setdefault(sha256(content), Photo(label, label, partial(_decode, content)))
                if len(found) == self.limit:
                    break
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # what datasets and its file systems raise
            raise DataError(f"{self.name} cannot be read ({' '.join(str(error).split())[:200]})") from error
        if not found:
            raise DataError(f"{self.name}: no images in column {self.column!r} of split {self.split!r}")
        return dict(sorted(found.items()))

    def _set(self) -> Any:
        if self.root is not None:
            return local_set(self.root, self.split, "use photos=folder for image files")
        remedy = "connect, or give photos.root=<local Parquet file or folder>, or use photos=folder"
        return hub_set(self.repo, self.config, self.split, self.revision, self.streaming, remedy)


def _decode(content: bytes) -> Any:
    return decode_photo(BytesIO(content))

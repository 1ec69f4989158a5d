"""Photos of a Hugging Face data set, from the hub or from local files in its formats."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from weightgen.data.photos.decoding import decode_photo
from weightgen.data.photos.pool import PhotoPool
from weightgen.errors import DataError, MissingModel
from weightgen.files import content_hash, sha256
from weightgen.network import require_network


@dataclass(frozen=True)
class Row:
    """An image as it is stored."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


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
    def photos(self) -> dict[str, Row]:
        found: dict[str, Row] = {}
        try:
            for number, row in enumerate(self._rows()):
                image = self._stored(row[self.column], number)
                if image is not None:
                    found.setdefault(sha256(image.content), image)
                if len(found) == self.limit:
                    break
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # what datasets and its file systems raise
            raise DataError(f"{self.name} cannot be read ({' '.join(str(error).split())[:200]})") from error
        if not found:
            raise DataError(f"{self.name}: no images in column {self.column!r} of split {self.split!r}")
        return dict(sorted(found.items()))

    def decode(self, item: Row) -> Image.Image:
        return decode_photo(BytesIO(item.content))

    def _stored(self, value: Any, number: int) -> Row | None:
        content = value
        if isinstance(value, Mapping):
            content = value.get("bytes") or (Path(value["path"]).read_bytes() if value.get("path") else None)
        row = Row(f"row {number} of {self.name}", content if isinstance(content, bytes) else b"")
        if not row.content:
            self.bad(row, f"column {self.column!r} holds no image")
            return None
        return row

    def _rows(self) -> Iterator[dict[str, Any]]:
        import datasets

        rows = self._local(datasets) if self.root is not None else self._hub(datasets)
        features = rows.features or {}
        if features and self.column not in features:
            raise DataError(f"{self.name} has no column {self.column!r} but {', '.join(features)}: set photos.column")
        rows = rows.select_columns([self.column])
        if isinstance(features.get(self.column), datasets.Image):
            rows = rows.cast_column(self.column, datasets.Image(decode=False))
        yield from rows

    def _local(self, datasets: Any) -> Any:
        if (self.root / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(self.root))[self.split]
        if (self.root / "state.json").is_file():
            return datasets.load_from_disk(str(self.root))
        files = [self.root] if self.root.is_file() else sorted(self.root.rglob("*.parquet"))
        if not files:
            raise DataError(f"photos.root: {self.root} holds no .parquet file; use photos=folder for image files")
        paths = [str(file) for file in files]
        return datasets.load_dataset("parquet", data_files=paths, split="train", streaming=True)

    def _hub(self, datasets: Any) -> Any:
        from huggingface_hub import constants

        remedy = "connect, or give photos.root=<local Parquet file or folder>, or use photos=folder"
        try:
            if self.streaming or not constants.HF_HUB_OFFLINE:
                require_network(constants.ENDPOINT)
            return datasets.load_dataset(
                self.repo, self.config, split=self.split, revision=self.revision, streaming=self.streaming
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
            raise MissingModel(f"data set {self.repo} cannot be had here ({reason}): {remedy}") from error

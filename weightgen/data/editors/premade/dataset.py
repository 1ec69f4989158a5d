"""Pairs of a Hugging Face data set or local Parquet files (image, edited image, prompt), brought into folders once."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from weightgen.data.concepts.sources import slug
from weightgen.data.photos.decoding import decode_photo
from weightgen.errors import DataError, MissingModel
from weightgen.files import FileMemory, content_hash, replacing_folder, sha256, write_json
from weightgen.network import require_network

COLUMNS = ("image", "edited", "prompt")
DONE = "done.json"


class PairDataset:
    """Rows (image, edited image, prompt), as InstructPix2Pix's data set has them; the rows of one prompt are a concept.

    name: a hub id, a Parquet file or a folder of Parquet files. columns: what image, edited and prompt are called in it.
    split, config, revision: of a hub data set. limit: rows read, in order, as a stream. min_pairs: of a concept; prompts
    with fewer are left out.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, str],
        split: str = "train",
        config: str | None = None,
        revision: str | None = None,
        limit: int = 1000,
        min_pairs: int = 4,
    ) -> None:
        if set(columns) != set(COLUMNS):
            raise DataError(f"editor.dataset.columns: say what {', '.join(COLUMNS)} are called")
        if limit < 1 or min_pairs < 4:
            raise DataError(f"editor.dataset.limit={limit}, editor.dataset.min_pairs={min_pairs}: 1 or more, 4 or more")
        self.name, self.columns, self.split = name, dict(columns), split
        self.config, self.revision, self.limit, self.min_pairs = config, revision, limit, min_pairs
        self.local = Path(name).expanduser()

    def folder(self, cache: Path) -> Path:
        """cache/<key>/<concept>/{prompt.txt, source/, target/}, written at the first call; then no network is needed.

        DataError: no such file or column, a row that is no pair, no prompt with `min_pairs` rows.
        """
        options = [self.columns, self.limit, self.min_pairs, *self._content(cache)]
        place = cache / sha256(json.dumps(options, sort_keys=True))[:20]
        if not (place / DONE).exists():
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(place.with_suffix(".lock")):
                if not (place / DONE).exists():
                    with replacing_folder(place) as aside:
                        self._fetch(aside)
        return place

    def _content(self, cache: Path) -> list[Any]:
        if not self.local.exists():
            return [self.name, self.split, self.config, self.revision]
        folder, files = self._files()
        return [content_hash(folder, files, FileMemory(cache / "parquet.json"))]

    def _files(self) -> tuple[Path, list[Path]]:
        if self.local.is_file():
            return self.local.parent, [self.local]
        files = sorted(self.local.rglob("*.parquet"))
        if not files:
            raise DataError(f"editor.dataset.name={self.name}: no .parquet file in this folder")
        return self.local, files

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Rows as a stream, images as they are stored."""
        import datasets

        if self.local.exists():
            files = [str(file) for file in self._files()[1]]
            stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        else:
            self._reachable()
            stream = datasets.load_dataset(
                self.name, self.config, split=self.split, revision=self.revision, streaming=True
            )
        features = stream.features or {}
        missing = [column for column in self.columns.values() if features and column not in features]
        if missing:
            raise DataError(
                f"editor.dataset.name={self.name} has no column {missing[0]!r} but {', '.join(features)}: say "
                "editor.dataset.columns={image: ..., edited: ..., prompt: ...}"
            )
        stream = stream.select_columns(list(self.columns.values()))
        for column in self.columns.values():
            if isinstance(features.get(column), datasets.Image):
                stream = stream.cast_column(column, datasets.Image(decode=False))
        yield from stream.take(self.limit)

    def _reachable(self) -> None:
        if self.name.count("/") > 1 or self.name[0] in "./~":
            raise DataError(f"editor.dataset.name={self.name}: no such file or folder")
        from huggingface_hub import constants

        try:
            require_network(constants.ENDPOINT)
        except OSError as error:
            raise MissingModel(
                f"editor.dataset.name={self.name} is a hub data set and the hub cannot be reached "
                f"({getattr(error, 'reason', error)}): give a local Parquet file or a folder of them, or connect and "
                "run again"
            ) from error

    def _fetch(self, partial: Path) -> None:
        counts: Counter[str] = Counter()
        total = 0
        try:
            for row in tqdm(self._rows(), desc="data set", total=self.limit, disable=None, leave=False, unit="row"):
                prompt = row[self.columns["prompt"]]
                if not isinstance(prompt, str) or not prompt.strip():
                    raise DataError(f"row {total} of {self.name}: the prompt is blank")
                prompt = " ".join(prompt.split())
                images = [self._image(row, column, total) for column in ("image", "edited")]
                if images[0].size != images[1].size:
                    sizes = " and ".join(f"{i.width} x {i.height}" for i in images)
                    raise DataError(f"row {total} of {self.name}: image and edited image have {sizes} px")
                place = partial / slug(prompt)
                for side, image in zip(("source", "target"), images, strict=True):
                    (place / side).mkdir(parents=True, exist_ok=True)
                    image.save(place / side / f"{total:08d}.png")
                (place / "prompt.txt").write_text(prompt, encoding="utf-8")
                counts[place.name] += 1
                total += 1
        except (OSError, ValueError, KeyError) as error:  # what datasets and its file systems raise
            raise DataError(f"editor.dataset.name={self.name} cannot be read ({error})") from error
        few = [name for name, count in counts.items() if count < self.min_pairs]
        for name in few:
            shutil.rmtree(partial / name)
        if len(few) == len(counts):
            raise DataError(
                f"editor.dataset.name={self.name}: of {len(counts)} prompts in {total} rows none has "
                f"{self.min_pairs} pairs; raise editor.dataset.limit ({self.limit})"
            )
        write_json(partial / DONE, {"rows": total, "concepts": len(counts) - len(few), "left out": len(few)})

    def _image(self, row: Mapping[str, Any], column: str, number: int) -> Image.Image:
        """Stored as bytes, as {"bytes": ...}, or decoded already -> RGB."""
        value = row[self.columns[column]]
        if isinstance(value, Mapping):
            value = value.get("bytes") or (Path(value["path"]).read_bytes() if value.get("path") else None)
        if isinstance(value, Image.Image):
            return value.convert("RGB")
        if not isinstance(value, bytes):
            raise DataError(f"row {number} of {self.name}: column {self.columns[column]!r} holds no image")
        try:
            return decode_photo(BytesIO(value))
        except DataError as error:
            raise DataError(f"row {number} of {self.name}: column {self.columns[column]!r} {error}") from error

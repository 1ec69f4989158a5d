"""Pairs of a Hugging Face data set or local Parquet files (image, edited image, prompt), brought into folders once."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from tqdm import tqdm

from weightgen.data.concepts.concept import slug
from weightgen.data.hub import hub_set, local_set, parquet_files, stored_image, stored_rows
from weightgen.data.photos.decoding import decode_photo
from weightgen.errors import DataError
from weightgen.files import FileMemory, content_hash, replacing_folder, sha256, write_json

if TYPE_CHECKING:
    from PIL import Image

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
        min_pairs: int = 6,
    ) -> None:
        if set(columns) != set(COLUMNS):
            raise DataError(f"editor.dataset.columns: say what {', '.join(COLUMNS)} are called")
        if limit < 1 or min_pairs < 6:
            raise DataError(f"editor.dataset.limit={limit}, editor.dataset.min_pairs={min_pairs}: 1 or more, 6 or more")
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
        folder = self.local.parent if self.local.is_file() else self.local
        memory = FileMemory(cache / "parquet.json")
        return [content_hash(folder, parquet_files(self.local, "give one, or a folder of them"), memory)]

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Rows as a stream, images as they are stored."""
        named = f"editor.dataset.name={self.name}"
        if self.local.exists():
            rows = local_set(self.local, self.split, "give a Parquet file, or a folder of them")
        elif self.name.count("/") > 1 or self.name[0] in "./~":
            raise DataError(f"{named}: no such file or folder")
        else:
            remedy = "give editor.dataset.name=<local Parquet file or a folder of them>, or connect and run again"
            rows = hub_set(self.name, self.config, self.split, self.revision, True, remedy)
        remedy = "say editor.dataset.columns={image: ..., edited: ..., prompt: ...}"
        return islice(stored_rows(rows, list(self.columns.values()), named, remedy), self.limit)

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

    def _image(self, row: Mapping[str, Any], column: str, number: int) -> "Image.Image":
        place = f"row {number} of {self.name}: column {self.columns[column]!r}"
        content = stored_image(row[self.columns[column]])
        if content is None:
            raise DataError(f"{place} holds no image")
        try:
            return decode_photo(BytesIO(content))
        except DataError as error:
            raise DataError(f"{place} {error}") from error

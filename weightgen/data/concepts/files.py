"""Prompts from a file: one a line, JSON Lines or CSV."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightgen.data.concepts.concept import Concept, check_prompt, concepts_of
from weightgen.data.splits import check_shares, split_prompts
from weightgen.errors import DataError

FIELDS = ("prompt", "name", "split", "category", "paraphrases")
REFERENCE = "reference"  # pictures whose style a concept has: editor=neural reads them
SHARES = {"validation": 0.1, "unseen_combination": 0.1, "unseen_factor": 0.1}
Item = dict[str, Any]


class FileConcepts:
    """Concepts of a UTF-8 file.

    .jsonl: a line is an object {prompt, name?, split?, category?, paraphrases?: [...]}, or a string. .csv: columns of these
    names, paraphrases separated by "|". Both may have a `reference`, which editor=neural reads. Any other ending: one prompt
    a line; blank lines do not count.
    splits: shares of the prompts without a split of their own (see `split_prompts`); seed: of that choice.
    """

    def __init__(self, path: str | Path, splits: Mapping[str, float] = SHARES, seed: int = 0) -> None:
        check_shares(splits)
        self.path = Path(path).expanduser()
        self.splits, self.seed = dict(splits), seed

    def load(self) -> list[Concept]:
        """-> concepts in the file's order. DataError: names the file and the line."""
        items: dict[str, Item] = {}
        for line, item in read_items(self.path, "concepts.path"):
            item.pop(REFERENCE, None)
            where = f"in line {line} of {self.path}"
            if unknown := set(item) - set(FIELDS):
                named = ", ".join(sorted(map(str, unknown)))
                raise DataError(f"concept {where}: unknown field {named}; use {', '.join(FIELDS)}")
            check_prompt(where, item.get("prompt"))
            items[where] = {key: value for key, value in item.items() if value not in (None, "", [])}
        if not items:
            raise DataError(f"concepts.path: {self.path} holds no prompt; write one a line")
        open_ones = [item for item in items.values() if "split" not in item]
        if open_ones:
            prompts = [item["prompt"] for item in open_ones]
            kinds = [item.get("category") for item in open_ones]
            for item, split in zip(open_ones, split_prompts(prompts, self.splits, self.seed, kinds), strict=True):
                item["split"] = split
        return concepts_of(
            (where, {key: value for key, value in item.items() if key != "category"}) for where, item in items.items()
        )


def read_items(path: Path, option: str) -> list[tuple[int, Item]]:
    """(line, its fields) of a file of concepts. option: what named it. DataError: names the file and the line."""
    read = {".jsonl": json_lines, ".csv": _csv_rows}.get(path.suffix.lower(), _lines)
    return read(path, text_of(path, option))


def text_of(path: Path, option: str) -> str:
    """The content of a text file. DataError: names the option that gave it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text, {error.reason}"
        raise DataError(f"{option}: {path} cannot be read ({reason}); give a UTF-8 text file") from error


def _lines(path: Path, text: str) -> list[tuple[int, Item]]:
    lines = enumerate(text.split("\n"), start=1)
    return [(n, {"prompt": line.strip()}) for n, line in lines if line.strip()]


def json_lines(path: Path, text: str) -> list[tuple[int, Item]]:
    """(line, object) of each line that is not blank; a bare string is its prompt. DataError: names file and line."""
    items = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: no JSON ({error})") from error
        item = {"prompt": item} if isinstance(item, str) else item
        paraphrases = item.get("paraphrases", []) if isinstance(item, dict) else None
        if not isinstance(paraphrases, list) or not all(isinstance(p, str) for p in paraphrases):
            raise DataError(f"{path}, line {number}: want a string or an object, its paraphrases a list of strings")
        items.append((number, item))
    return items


def _csv_rows(path: Path, text: str) -> list[tuple[int, Item]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="too many columns", strict=True)
    items = []
    try:
        if text.strip() and "prompt" not in (reader.fieldnames or ()):
            columns = ", ".join(FIELDS)
            raise DataError(f"{path}: the first line must name the columns, one of them prompt; use {columns}")
        for row in reader:
            item = {key: value for key, value in row.items() if value is not None}
            said = str(item.pop("paraphrases", "")).split("|")
            items.append((reader.line_num, item | {"paraphrases": [p.strip() for p in said if p.strip()]}))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV ({error})") from error
    return items

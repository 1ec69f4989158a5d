"""Prompts from a file: one a line, JSON Lines or CSV."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightgen.data.concepts.sources import Concept, check_prompt, concept_of
from weightgen.data.concepts.splits import assign_splits, check_shares
from weightgen.errors import DataError

FIELDS = ("prompt", "name", "split", "category", "paraphrases")
SHARES = {"validation": 0.1, "unseen_combination": 0.1, "unseen_factor": 0.1}
Item = dict[str, Any]


class FileConcepts:
    """Concepts of a UTF-8 file.

    .jsonl: a line is an object {prompt, name?, split?, category?, paraphrases?: [...]}, or a string. .csv: columns of these
    names, paraphrases separated by "|". Any other ending: one prompt a line; blank lines do not count.
    splits: shares of the prompts without a split of their own (see `assign_splits`); seed: of that choice.
    """

    def __init__(self, path: str | Path, splits: Mapping[str, float] = SHARES, seed: int = 0) -> None:
        check_shares(splits)
        self.path = Path(path).expanduser()
        self.splits, self.seed = dict(splits), seed

    def load(self) -> list[Concept]:
        """-> concepts in the file's order. DataError: names the file and the line."""
        read = {".jsonl": _json_lines, ".csv": _csv_rows}.get(self.path.suffix.lower(), _lines)
        items: list[tuple[int, Item]] = []
        for line, item in read(self.path, self._text()):
            if unknown := set(item) - set(FIELDS):
                raise self._error(
                    line, f"unknown field {', '.join(sorted(map(str, unknown)))}; use {', '.join(FIELDS)}"
                )
            check_prompt(f"in line {line} of {self.path}", item.get("prompt"))
            items.append((line, {key: value for key, value in item.items() if value not in (None, "", [])}))
        if not items:
            raise DataError(f"concepts.path: {self.path} holds no prompt; write one a line")
        self._refuse_duplicates(items)
        open_ones = [item for _, item in items if "split" not in item]
        if open_ones:
            prompts = [item.get("prompt", "") for item in open_ones]
            kinds = [item.get("category") for item in open_ones]
            for item, split in zip(open_ones, assign_splits(prompts, self.splits, self.seed, kinds), strict=True):
                item["split"] = split
        return [self._concept(line, item) for line, item in items]

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text, {error.reason}"
            raise DataError(f"concepts.path: {self.path} cannot be read ({reason}); give a UTF-8 text file") from error

    def _error(self, line: int, reason: str) -> DataError:
        return DataError(f"{self.path}, line {line}: {reason}")

    def _refuse_duplicates(self, items: list[tuple[int, Item]]) -> None:
        for field in ("prompt", "name"):
            seen: dict[str, int] = {}
            for line, item in items:
                value = item.get(field)
                if value is not None and seen.setdefault(str(value), line) != line:
                    raise self._error(line, f"the {field} {value!r} stands in line {seen[str(value)]} too; keep one")

    def _concept(self, line: int, item: Item) -> Concept:
        try:
            return concept_of({k: v for k, v in item.items() if k != "category"}, f"in line {line} of {self.path}")
        except DataError as error:
            if str(self.path) in str(error):
                raise
            raise self._error(line, str(error)) from error


def _lines(path: Path, text: str) -> list[tuple[int, Item]]:
    lines = enumerate(text.split("\n"), start=1)
    return [(n, {"prompt": line.strip()}) for n, line in lines if line.strip()]


def _json_lines(path: Path, text: str) -> list[tuple[int, Item]]:
    items = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: no JSON ({error})") from error
        item = {"prompt": item} if isinstance(item, str) else item
        paraphrases = item.get("paraphrases", []) if isinstance(item, dict) else None
        if not isinstance(paraphrases, list) or not all(isinstance(p, str) for p in paraphrases):
            raise DataError(f"{path}, line {number}: want a string or an object, its paraphrases a list of strings")
        items.append((number, item))
    return items


def _csv_rows(path: Path, text: str) -> list[tuple[int, Item]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="too many columns", strict=True)
    if text.strip() and "prompt" not in (reader.fieldnames or ()):
        raise DataError(f"{path}: the first line must name the columns, one of them prompt; use {', '.join(FIELDS)}")
    items = []
    try:
        for row in reader:
            item = {key: value for key, value in row.items() if value is not None}
            said = str(item.pop("paraphrases", "")).split("|")
            items.append((reader.line_num, item | {"paraphrases": [p.strip() for p in said if p.strip()]}))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no CSV ({error})") from error
    return items

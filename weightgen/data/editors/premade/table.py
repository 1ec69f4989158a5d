"""What the user's table says of premade concepts, before their folders' names do."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weightgen.errors import DataError


@dataclass(frozen=True)
class ConceptTable:
    """Prompts and splits by the name of the concept's folder, where the table gives them."""

    prompts: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path | None) -> "ConceptTable":
        """A CSV with columns concept, and prompt or split or both; None: an empty table. DataError: no such file, other
        columns, a concept twice."""
        if path is None:
            return cls()
        try:
            with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"editor.concepts_csv={path} cannot be read ({error})") from error
        if not rows or not {"concept"} < set(rows[0]) <= {"concept", "prompt", "split"}:
            raise DataError(f"editor.concepts_csv={path}: give columns concept, and prompt or split or both")
        names = [row["concept"] for row in rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"editor.concepts_csv={path}: concept {twice[0]!r} is there twice")

        def column(key: str) -> dict[str, str]:
            return {row["concept"]: row[key].strip() for row in rows if (row.get(key) or "").strip()}

        return cls(column("prompt"), column("split"))

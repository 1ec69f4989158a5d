"""LoRAs that exist: a list of adapter folders, their prompts and their base."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightgen.data.concepts.concept import Concept, check_prompt, concepts_of
from weightgen.data.concepts.files import json_lines, text_of
from weightgen.errors import DataError

FIELDS = {"adapter", "prompt", "base"}
WEIGHTS = ("adapter_model.safetensors", "adapter_config.json")
BASE_WEIGHTS = ("base.safetensors", "generator.safetensors")  # of a saved weight generator, of a `base` artifact


@dataclass(frozen=True)
class Manifest:
    """folders: prompt -> adapter folder; base: folder of the translator that all of them adapt, weights: its file there."""

    concepts: tuple[Concept, ...]
    folders: dict[str, Path]
    base: Path
    weights: Path


def read_manifest(path: str | Path) -> Manifest:
    """A UTF-8 file of JSON Lines, each {"adapter": folder, "prompt": words, "base": folder}; folders from the file's own.

    DataError: names the file, the line and what is wrong, e.g. a folder that is no peft adapter, or a second base.
    """
    path = Path(path).expanduser()
    rows = json_lines(path, text_of(path, "zoo.file"))
    folders = {}
    bases: dict[Path, int] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        if set(row) != FIELDS:
            raise DataError(f"{where}: give adapter, prompt and base, got {', '.join(sorted(row)) or 'nothing'}")
        check_prompt(f"in line {line} of {path}", row["prompt"])
        adapter, base = (_folder(path, where, row, name) for name in ("adapter", "base"))
        for file in WEIGHTS:
            if not (adapter / file).is_file():
                raise DataError(f"{where}: {adapter} holds no {file}; write it with peft's save_pretrained")
        bases.setdefault(base.resolve(), line)
        folders[row["prompt"]] = adapter
    if len(rows) < 2:
        raise DataError(f"zoo.file: {path} holds {len(rows)} LoRAs; 2 are needed")
    if len(bases) > 1:
        lines = " and ".join(map(str, list(bases.values())[:2]))
        raise DataError(f"{path}: lines {lines} name two bases; the LoRAs of one zoo adapt one")
    base = next(iter(bases))
    files = [base / name for name in BASE_WEIGHTS if (base / name).is_file()]
    if not files or not (base / "generator.json").is_file():
        raise DataError(f"{path}: base {base} is the folder of no weight generator and of no base artifact; give one")
    items = ((f"in line {line} of {path}", {"prompt": row["prompt"], "split": "train"}) for line, row in rows)
    return Manifest(tuple(concepts_of(items)), folders, base, files[0])


def _folder(path: Path, where: str, row: dict[str, Any], name: str) -> Path:
    if not isinstance(row[name], str) or not row[name]:
        raise DataError(f"{where}: {name} is no folder's name")
    folder = path.parent / Path(row[name]).expanduser()
    if not folder.is_dir():
        raise DataError(f"{where}: {name} {folder} is no folder")
    return folder

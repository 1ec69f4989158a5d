"""Hashes of file contents, remembered by size and time of change so that gigabytes are read once."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


class FileMemory:
    """What was found out about files, kept in a JSON file; a file that changed (size or mtime) is looked at again.

    path: of the memory; None keeps nothing. Two processes that write at once lose an entry at worst, never a file.
    """

    def __init__(self, path: Path | str | None) -> None:
        self.path = None if path is None else Path(path)
        self._new = False
        try:
            self._known: dict[str, list] = json.loads(self.path.read_text()) if self.path else {}
        except (FileNotFoundError, json.JSONDecodeError):
            self._known = {}

    def about(self, file: Path, find: Callable[[Path], Any]) -> Any:
        """`find(file)`, a JSON value, or what it said of this very file before."""
        state = file.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        name = str(file.resolve())
        known = self._known.get(name)
        if known is None or known[:2] != stamp:
            known = [*stamp, find(file)]
            self._known[name] = known
            self._new = True
        return known[2]

    def save(self) -> None:
        """Atomic; nothing happens where nothing new was found."""
        if self.path is None or not self._new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(self._known))
        temporary.replace(self.path)
        self._new = False


def sha256_file(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hash(folder: Path, files: Iterable[Path], memory: FileMemory) -> str:
    """sha256 over names (below `folder`) and contents; equal wherever the folder lies."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(folder).as_posix()} {memory.about(file, sha256_file)}\n".encode())
    memory.save()
    return digest.hexdigest()

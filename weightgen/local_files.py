"""Files and folders that a user points at: they count by their content, never by where they lie."""

import hashlib
from functools import lru_cache
from pathlib import Path


def content_hash(path: Path | str) -> str:
    """sha256 of a file, or of a folder's files with their names inside it; hidden files are left out.

    Read once a process while sizes and times stay. Raises OSError where something cannot be read.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return _file_hash(path.resolve(), *_stamp(path))
    members = sorted(
        (member.relative_to(path).as_posix(), member)
        for member in path.rglob("*")
        if member.is_file() and not any(part.startswith(".") for part in member.relative_to(path).parts)
    )
    rows = [f"{name} {_file_hash(member.resolve(), *_stamp(member))}" for name, member in members]
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def _file_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Files: what they hold as one hash, and writing so that a reader sees the old file or the whole new one."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.errors import WeightgenError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A hidden name beside `path` to write to. When the block ends well, what is there replaces `path` in one move; when it
    raises, `path` stays as it was. The file's mode follows the umask, whatever the writer does."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.touch()
        mode = aside.stat().st_mode
        yield aside
        aside.chmod(mode)  # safetensors makes a file of its own, which only the owner could read
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """An empty hidden folder beside `path` to fill; when the block ends well it takes the place of `path`."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        for attempt in range(10):
            shutil.rmtree(path, ignore_errors=True)
            try:
                aside.replace(path)
                break
            except OSError:  # another process put its own there in between: the last one wins whole
                if attempt == 9:
                    raise
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def flush(path: Path) -> None:
    """What was written to a file, or the names in a folder, is on the disk when this returns: a power cut loses none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, content: bytes) -> None:
    with replacing(path) as aside:
        aside.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """UTF-8, lines ended as they are in `text`."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False))


FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a text begins that a spreadsheet would run, or that `escaped` has marked


def escaped(cell: Any) -> Any:
    """A cell of a CSV file: a text that a spreadsheet would run as a formula begins with an apostrophe."""
    if not isinstance(cell, str) or not FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


def unescaped(cell: str) -> str:
    """The inverse of `escaped`."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell


def write_rows(path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file with a header; each row holds one cell a column."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([escaped(cell) for cell in row] for row in rows)
    write_text(path, table.getvalue())


def save_tensors(path: Path | str, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None) -> None:
    """A safetensors file. Tensors may lie on any device, need gradients and have any strides; none may share memory."""
    from safetensors.torch import save_file  # imports torch, which those who read JSON need not wait for

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as aside:
        save_file(stored, aside, dict(metadata) if metadata else None)


def load_tensors(path: Path | str) -> dict[str, "Tensor"]:
    """A safetensors file, floats as float32. Raises WeightgenError if a value is not finite."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    for name, weight in tensors.items():
        if not bool(weight.isfinite().all()):
            raise WeightgenError(f"{Path(path).name}: {name} holds values that are not finite; get the folder anew")
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def read_json(path: Path | str, remedy: str = "delete it and run the same command again") -> Any:
    """The content of a JSON file. WeightgenError names the file, what is wrong with it and the remedy."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightgenError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise WeightgenError(f"{path} is damaged ({error}): {remedy}") from error


class FileMemory:
    """What was found out about files, asked again only where a file's size or time of change is another.

    path: a JSON file that keeps it from process to process; None: it ends with this object. Two processes that write at
    once lose an entry at worst, never a file.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._new = False
        try:
            self._known: dict[str, list] = json.loads(self.path.read_text()) if self.path else {}
        except (FileNotFoundError, ValueError):
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
        """Nothing is written where nothing new was found."""
        if self.path is not None and self._new:
            write_text(self.path, json.dumps(self._known))
            self._new = False


_HASHES = FileMemory()  # of this process


def sha256(content: bytes | str) -> str:
    """64 hex digits; of a text, of its UTF-8 bytes."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content).hexdigest()


def content_hash(path: Path | str, files: Iterable[Path] | None = None, memory: FileMemory | None = None) -> str:
    """sha256 of a file, or of files below a folder with their names inside it: equal wherever the folder lies.

    files: those of the folder that count; None: all but hidden ones. memory: what remembers their hashes; None: this
    process. Raises OSError where something cannot be read.
    """
    path, memory = Path(path).expanduser(), _HASHES if memory is None else memory
    if not path.is_dir():
        return memory.about(path, file_hash)
    if files is None:
        files = (file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path)))
    members = sorted((file.relative_to(path).as_posix(), file) for file in files)
    rows = [f"{name} {memory.about(file, file_hash)}" for name, file in members]
    memory.save()
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def _hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts)


def file_hash(path: Path) -> str:
    """sha256 of what a file holds now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Content-addressed artifacts: artifacts/<stage>/<key>/, written aside, then renamed; built once."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from weightgen.errors import MissingArtifact, WeightgenError
from weightgen.files import file_hash, flush, read_json, write_json

log = logging.getLogger(__name__)
FILES = "files.json"
PATIENCE = 5.0  # seconds of waiting for another process after which it is said


@dataclass(frozen=True, eq=False)
class Spec:
    """What determines an artifact: key = sha256(stage, stage version, allow-listed config, upstream keys).
    Specs of one key are equal.

    `target` is the make target that builds it; `label` names it for people, `subject` is what its
    builder works on; neither is in the key.
    """

    stage: str
    version: int
    config: Mapping[str, Any]
    inputs: tuple["Spec", ...] = ()
    target: str = ""
    label: str = ""
    subject: Any = field(default=None, repr=False)

    @cached_property
    def key(self) -> str:
        """20 hex digits; equal on every machine for equal content."""
        content = [self.stage, self.version, self.config, [spec.key for spec in self.inputs]]
        text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and (self.stage, self.key) == (other.stage, other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def upstream(self, stage: str) -> "Spec":
        """The nearest spec of `stage` that this one is made from (breadth first). Raises WeightgenError if there is none."""
        level = [self]
        while level := list(dict.fromkeys(source for spec in level for source in spec.inputs)):
            if found := next((spec for spec in level if spec.stage == stage), None):
                return found
        raise WeightgenError(f"{self.label} has no upstream {stage}")

    def reference(self) -> dict[str, str]:
        return {"stage": self.stage, "key": self.key, "label": self.label}

    def describe(self) -> dict[str, Any]:
        return {"stage": self.stage, "version": self.version, "label": self.label, "config": dict(self.config)}


class Store:
    """The folder of all artifacts of a project, safe for concurrent processes and kill -9 at any moment."""

    def __init__(self, root: Path | str, provenance: Callable[[], Mapping[str, Any]] | None = None) -> None:
        """provenance: what else is told of an artifact that is built here (which code, which versions), in no key."""
        self.root, self.provenance = Path(root), provenance
        self._claims: dict[Spec, FileLock] = {}
        self._sound: set[Path] = set()  # folders whose every file was read once in this process

    def path(self, spec: Spec) -> Path:
        return self.root / spec.stage / spec.key

    def has(self, spec: Spec) -> bool:
        return (self.path(spec) / FILES).exists()

    def started(self, spec: Spec) -> bool:
        """Whether a build of `spec` was begun and is not finished: at work, or killed."""
        return not self.has(spec) and self.partial(spec).is_dir()

    def require(self, spec: Spec) -> Path:
        """The finished artifact's folder.

        Raises MissingArtifact naming the make target, WeightgenError if a file is not what it was when it was written, which
        is looked at once a process.
        """
        path = self.path(spec)
        if not self.has(spec):
            target = f"run `make {spec.target}`" if spec.target else "build it first"
            raise MissingArtifact(f"{spec.stage} {spec.key} ({spec.label or 'no label'}) is missing: {target}")
        if path not in self._sound:
            _check(path)
            self._sound.add(path)
        return path

    def ensure(self, spec: Spec, build: Callable[[Path], Mapping[str, Any] | None]) -> Path:
        """The artifact's folder, built by `build(folder)` if absent.

        `build` writes its payload into `folder`, which outlives a kill, so that checkpoints left there serve
        the next try (names starting with "." are dropped at the end); it returns the metrics.json content.
        One process builds a key at a time, others wait and share.
        """
        path, partial = self.path(spec), self.partial(spec)
        if self.has(spec):
            return self.require(spec)
        with self._locked(spec):
            if not self.has(spec):
                partial.mkdir(parents=True, exist_ok=True)
                if not (partial / FILES).exists():  # else killed between the last write and the rename
                    self._build(spec, partial, build)
                if path.exists():  # a folder without files.json is nobody's finished work
                    shutil.rmtree(path)
                partial.replace(path)
                flush(path.parent)
                self._sound.add(path)
        return self.require(spec)

    def claim(self, spec: Spec, wait: bool = False) -> bool:
        """Whether this process is the one to build `spec`: it then keeps others from it until `ensure` has built it, or
        `release`. False: it is finished, or another process builds it (wait=True waits for that one's end).

        For work on many specs at once, whose `ensure` comes last.
        """
        if spec in self._claims:
            return True
        if self.has(spec):
            return False
        lock = self._lock(spec)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return False
        if self.has(spec):  # finished while we waited
            lock.release()
            return False
        self._claims[spec] = lock
        return True

    def release(self) -> None:
        """Give up every claim; so does the end of the process, however it ends."""
        while self._claims:
            self._claims.popitem()[1].release()

    def partial(self, spec: Spec) -> Path:
        """Where a build of `spec` keeps its work until it is finished."""
        return self.root / spec.stage / ".partial" / spec.key

    def _lock(self, spec: Spec) -> FileLock:
        path = self.partial(spec).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    @contextmanager
    def _locked(self, spec: Spec) -> Iterator[None]:
        lock = self._claims.pop(spec, None)
        if lock is None:
            lock = self._lock(spec)
            try:
                lock.acquire(timeout=PATIENCE)
            except Timeout:
                log.info("waiting for another process that builds %s (%s %s)", spec.label, spec.stage, spec.key)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _build(self, spec: Spec, partial: Path, build: Callable[[Path], Mapping[str, Any] | None]) -> None:
        metrics = build(partial)
        write_json(partial / "spec.json", spec.describe())
        if self.provenance is not None:
            write_json(partial / "provenance.json", dict(self.provenance()))
        if not (partial / "inputs.json").exists():  # a build that chose among its inputs has said which
            write_json(partial / "inputs.json", [spec.reference() for spec in spec.inputs])
        write_json(partial / "metrics.json", dict(metrics or {}))
        for private in partial.glob(".*"):
            shutil.rmtree(private) if private.is_dir() else private.unlink()
        files = sorted(f for f in partial.rglob("*") if f.is_file())
        for file in files:  # on the disk before the folder says that it is finished
            flush(file)
        about = {str(f.relative_to(partial)): {"bytes": f.stat().st_size, "sha256": file_hash(f)} for f in files}
        write_json(partial / FILES, about)
        flush(partial / FILES)
        flush(partial)

    def metrics(self, spec: Spec) -> dict[str, Any]:
        """The metrics.json of a finished artifact."""
        return json.loads((self.require(spec) / "metrics.json").read_text())


def _check(folder: Path) -> None:
    """Raises WeightgenError naming a file of the artifact that is not what it was when it was written."""
    remedy = f"delete the folder {folder} and run the same command again"
    about = read_json(folder / FILES, remedy)
    if not isinstance(about, dict) or "metrics.json" not in about:  # which every artifact has
        raise WeightgenError(f"{folder / FILES} is damaged (no list of files): {remedy}")
    for name, written in about.items():
        file, known = folder / name, written if isinstance(written, dict) else {}
        if not file.is_file():
            found = "it is missing"
        elif file.stat().st_size != known.get("bytes"):
            found = f"{file.stat().st_size} of {known.get('bytes')} bytes"
        elif file_hash(file) != known.get("sha256"):
            found = "its content has changed"
        else:
            continue
        raise WeightgenError(f"{file} is damaged ({found}): {remedy}")

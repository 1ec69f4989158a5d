"""Where fleets keep their checkpoints: artifacts/lora/.fleets/<name>, while they live or after they were killed."""

import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from filelock import FileLock, Timeout

from weightgen.artifacts import FILES


class FleetFolders:
    """What one fleet saved of a concept serves any later one, whoever else is in it: names are artifact keys, and equal
    keys are the same training. So a killed run may go on with other workers, shards or sizes.

    stage: the folder of all finished artifacts, <stage>/<key>.
    """

    def __init__(self, stage: Path) -> None:
        self.stage, self.root = stage, stage / ".fleets"

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A folder of this process' own; removed if all goes well, else left to `saved`."""
        self.root.mkdir(parents=True, exist_ok=True)
        folder = self.root / uuid4().hex[:12]
        with FileLock(self._lock(folder)):  # held while the process lives: see `sweep`
            folder.mkdir()
            yield folder
            shutil.rmtree(folder)
        self._lock(folder).unlink(missing_ok=True)

    def saved(self, keys: Container[str]) -> list[dict[str, Any]]:
        """The furthest saved state of each of `keys` that has any, as FleetModule's extra state holds it."""
        furthest: dict[str, dict[str, Any]] = {}
        for folder in sorted(self.root.glob("[!.]*/")):
            for state in _held(folder):
                if state["name"] in keys and state["step"] > furthest.get(state["name"], {"step": 0})["step"]:
                    furthest[state["name"]] = state
        return list(furthest.values())

    def sweep(self, own: Path) -> None:
        """Remove killed fleets' folders of which nothing is needed: each concept is finished, or as far in `own`."""
        ours = {state["name"]: state["step"] for state in _held(own)}
        for lock in self.root.glob("*.lock"):
            folder = lock.with_suffix("")
            if folder == own:
                continue
            try:
                with FileLock(lock, timeout=0):
                    needed = [
                        state["name"]
                        for state in _held(folder)
                        if not (self.stage / state["name"] / FILES).exists()
                        and ours.get(state["name"], -1) < state["step"]
                    ]
                    if not needed:
                        shutil.rmtree(folder, ignore_errors=True)
                        lock.unlink(missing_ok=True)
            except Timeout:  # its fleet lives
                continue

    @staticmethod
    def _lock(folder: Path) -> Path:
        return folder.with_suffix(".lock")


def _held(folder: Path) -> list[dict[str, Any]]:
    """States of the concepts in the checkpoint of `folder`: they had begun and not left. Tensors stay on disk till read."""
    try:
        loaded = torch.load(folder / ".checkpoint" / "last.ckpt", map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:  # killed before the first, or removed this moment
        return []
    return loaded["state_dict"]["_extra_state"]["held"]

"""Editing a photo set batch by batch: killed and resumed to the very same pixels, flawed edits tried again or left out."""

import logging
import math
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from weightgen.data.editors.flaws import FLAWS, flaws, require_different
from weightgen.data.pairs import Pairs
from weightgen.data.splits import PARTS
from weightgen.errors import DataError
from weightgen.files import save_tensors

log = logging.getLogger(__name__)


class Editor(Protocol):
    batch_size: int
    retries: int
    min_change: float
    min_kept: float

    def edit(self, photos: Tensor, concept: Any, attempt: int) -> Tensor: ...


class _Saved:
    """Finished edits of one part and attempt: a file a batch, written whole or not at all."""

    def __init__(self, folder: Path, part: str, attempt: int) -> None:
        self.folder, self.stem = folder, f"{part}-{attempt}"
        self.edits: dict[int, Tensor] = {}
        self.flaws: dict[int, int] = {}
        self.seconds = 0.0
        for file in sorted(folder.glob(f"{self.stem}-*.safetensors")):
            with safe_open(file, "pt") as held:
                self._hold(*(held.get_tensor(name) for name in ("index", "edited", "flaws")))
                self.seconds += float(held.metadata()["seconds"])

    def _hold(self, index: Tensor, edited: Tensor, found: Tensor) -> None:
        for i, image, flaw in zip(index.tolist(), edited, found.tolist(), strict=True):
            self.edits[i], self.flaws[i] = image, flaw

    def add(self, index: Sequence[int], edited: Tensor, found: Tensor, seconds: float) -> None:
        content = {"index": torch.tensor(index), "edited": edited, "flaws": found}
        file = self.folder / f"{self.stem}-{index[0]:06d}.safetensors"
        save_tensors(file, content, {"seconds": str(seconds)})
        self._hold(**{"found" if name == "flaws" else name: value for name, value in content.items()})
        self.seconds += seconds


def edit_photos(editor: Editor, photos: Mapping[str, Tensor], concept: Any, folder: Path) -> Pairs:
    """Edit photos[part] (uint8 (N, 3, S, S)) by `concept`; `folder`/.edits outlives a kill.

    A batch is always made of the same photos, so a killed run goes on to the same bytes. Report: how many edits came out
    with each flaw, how many were tried again, which photos were left out, and the seconds spent. DataError: a part keeps
    under editor.min_kept of its photos, or under 2.
    """
    store = folder / ".edits"
    store.mkdir(exist_ok=True)
    total = sum(map(len, photos.values()))
    name = getattr(concept, "name", "photos")
    whole: dict[str, tuple[Tensor, list[int]]] = {}
    found: Counter[int] = Counter()
    edits, seconds = 0, 0.0
    child = multiprocessing.current_process().name != "MainProcess"  # bars of several processes would mix
    with tqdm(
        desc=f"edit {name[:30]}", total=total, position=1, disable=child or None, leave=False, unit="photo"
    ) as bar:
        for part in sorted(photos, key=PARTS.index):  # a file's tensors come in an order of its own
            images = photos[part]
            done: dict[int, Tensor] = {}
            todo = list(range(len(images)))
            for attempt in range(editor.retries + 1):
                saved = _Saved(store, part, attempt)
                _edit_missing(editor, images, concept, attempt, todo, saved, bar)
                done |= {i: saved.edits[i] for i in todo if not saved.flaws[i]}
                found.update(saved.flaws[i] for i in todo)
                edits, seconds = edits + len(todo), seconds + saved.seconds
                if not (todo := [i for i in todo if saved.flaws[i]]):
                    break
            kept = sorted(done)
            require_different([done[i] for i in kept], images[kept], name)
            _require_enough(editor, part, len(kept), len(images), found, name)
            whole[part] = torch.stack([done[i] for i in kept]), kept
    dropped = {p: sorted(set(range(len(photos[p]))) - set(kept)) for p, (_, kept) in whole.items()}
    counts = {flaw: found[number] for number, flaw in enumerate(FLAWS, start=1)}
    report = {"edits": edits, "retried": edits - total, **counts, "dropped": dropped, "seconds": seconds}
    targets = {part: images for part, (images, _) in whole.items()}
    if not any(dropped.values()):
        return Pairs(targets, None, report)
    log.warning(
        "%s: %d of %d photos left out, their edits came out flawed (%s)",
        name,
        sum(map(len, dropped.values())),
        total,
        _said(counts),
    )
    return Pairs(targets, {part: photos[part][kept] for part, (_, kept) in whole.items()}, report)


def _edit_missing(
    editor: Editor, images: Tensor, concept: Any, attempt: int, todo: list[int], saved: _Saved, bar: tqdm
) -> None:
    """Edit what `saved` lacks of `todo`."""
    for batch in _batches(todo, editor.batch_size):
        missing = [i for i in batch if i not in saved.edits]
        if missing:
            start = time.perf_counter()
            edited = editor.edit(images[missing], concept, attempt)
            found = flaws(images[missing], edited, editor.min_change)
            pixels = (edited.nan_to_num(0, 0, 0).clamp(0, 1) * 255).round().byte().contiguous()
            saved.add(missing, pixels, found, time.perf_counter() - start)
        bar.update(len(batch) if attempt == 0 else 0)


def _batches(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _require_enough(editor: Editor, part: str, kept: int, of: int, found: Counter[int], name: str) -> None:
    if kept >= max(math.ceil(editor.min_kept * of), min(2, of)):
        return
    counts = {flaw: found[number] for number, flaw in enumerate(FLAWS, start=1)}
    raise DataError(
        f"concept {name}: only {kept} of {of} {part} photos were edited well ({_said(counts)}). "
        "Unchanged: raise editor.guidance_scale or lower editor.min_change. Black or not a number: set "
        "editor.dtype=float32 or editor.safety_checker=false. Or lower editor.min_kept"
    )


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {flaw}" for flaw, count in counts.items() if count) or "none"

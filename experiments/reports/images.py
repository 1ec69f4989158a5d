"""The images that a comparison refers to: read, laid out on one sheet."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from experiments.reports.comparison import Comparison, Sample
from weightgen.evaluation.grid import grid


class Pictures(NamedTuple):
    """Images uint8 (3, S, S) of one sample. outputs: (method, steps, at step 0, at the end), the end None for 0 steps."""

    photo: Tensor
    target: Tensor
    outputs: list[tuple[str, int, Tensor, Tensor | None]]


def pictures(sample: Sample) -> Pictures:
    """What a sample refers to, read."""
    outputs = []
    for output in sample.outputs:
        kept = _load(output.path)
        end = kept["end"][sample.photo] if output.steps else None
        outputs.append((output.method, output.steps, kept["start"][sample.photo], end))
    photo, target = (_load(path)["test"][sample.photo] for path in (sample.photos, sample.targets))
    return Pictures(photo, target, outputs)


@lru_cache(maxsize=64)
def _load(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def contact_sheet(comparison: Comparison, path: Path) -> None:
    """A column per sample; rows photo, target, each method at step 0 and at the end. All samples have the same methods."""
    rows: dict[str, list[Tensor]] = {}
    for photo, target, outputs in map(pictures, comparison.samples):
        rows.setdefault("photo", []).append(photo)
        rows.setdefault("target", []).append(target)
        for method, steps, start, end in outputs:
            rows.setdefault(f"{method}, step 0", []).append(start)
            if end is not None:
                rows.setdefault(f"{method}, step {steps}", []).append(end)
    bases: Sequence[str] = sorted({base for base, _ in comparison.groups})
    title = f"{comparison.recipe}: unseen concepts, base {bases[0]}"
    grid({name: torch.stack(row) for name, row in rows.items()}, [s.prompt for s in comparison.samples], path, title)

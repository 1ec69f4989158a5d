"""Contact sheets: of the images that a comparison refers to, of some pairs of every concept."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from experiments.pipeline.build import Pipeline
from experiments.reports.comparison import Comparison, Sample
from experiments.training.payloads import pair_tensors
from weightgen.data.editors.flaws import FLAWS
from weightgen.data.splits import PARTS, SPLITS
from weightgen.evaluation.figures.grid import grid
from weightgen.evaluation.methods import label, pictured

log = logging.getLogger(__name__)
SHOWN = 6
TILE, GAP = 112, 2  # px of an image in a contact sheet, and between two


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
    row = int(_load(sample.outputs[0].path)["rows"][sample.photo])
    photo, target = (_load(path)[sample.part][row] for path in (sample.photos, sample.targets))
    return Pictures(photo, target, outputs)


@lru_cache(maxsize=64)
def _load(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def contact_sheet(comparison: Comparison, path: Path) -> None:
    """A column per sample. First row photo and target, then a row for each of a few methods: its output at step 0 and, right
    of it, at the end, each with its L1 to the target. All samples have the same methods."""
    shown = pictured(output.method for output in comparison.samples[0].outputs)
    rows: dict[str, list[Tensor]] = {"photo | target": []}
    notes: dict[str, list[str]] = {}
    for photo, target, outputs in map(pictures, comparison.samples):
        rows["photo | target"].append(_side_by_side(photo, target))
        for method, _, start, end in outputs:
            if method in shown:
                rows.setdefault(label(method), []).append(_side_by_side(start, start if end is None else end))
                errors = [
                    f"{float((image.float() - target).abs().mean()) / 255:.3f}"
                    for image in (start, end)
                    if image is not None
                ]
                notes.setdefault(label(method), []).append(" | ".join(errors))
    ends = [f"{sample.prompt}\n({sample.split.replace('_', ' ')})" for sample in comparison.samples]
    base = sorted({base for base, _ in comparison.groups})[0]
    title = (
        f"{comparison.recipe}, base {base}: each method at step 0 | after its fine-tuning, with the L1 to the target"
    )
    tile = 2 * TILE + GAP
    grid({name: torch.stack(row) for name, row in rows.items()}, ends, path, title, tile, notes)


def _side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Two images uint8 (3, H, W), enlarged to about TILE px, with a white line between -> one."""
    factor = max(1, TILE // max(left.shape[1:]))
    large = [image.repeat_interleave(factor, 1).repeat_interleave(factor, 2) for image in (left, right)]
    return torch.cat([large[0], torch.full((3, large[0].shape[1], GAP), 255, dtype=torch.uint8), large[1]], 2)


def pairs_sheet(pipeline: Pipeline) -> None:
    """Writes reports/<recipe>/pairs.png and says what there is."""
    path = Path(pipeline.cfg.paths.reports) / pipeline.cfg.recipe / "pairs.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(*some_pairs(pipeline), path, title=f"{pipeline.cfg.recipe}: pairs")
    counts = "their own photos"
    if not pipeline.premade:
        made = pipeline.store.metrics(pipeline.photos)
        counts = ", ".join(f"{made[part]} {part}" for part in PARTS) + " crops"
    log.info("pairs: %d concepts, %s%s; some in %s", len(pipeline.concepts), counts, flawed(pipeline), path)


def some_pairs(pipeline: Pipeline) -> tuple[dict[str, Tensor], list[str]]:
    """Some photos and what some concepts make of them: rows and column labels of a contact sheet."""
    concepts = [c for split in SPLITS for c in pipeline.split(split)[: SHOWN // 2]][: 2 * SHOWN]
    shared = None if pipeline.premade else pipeline.artifact(pipeline.photos)
    pairs = {c.prompt: pair_tensors(pipeline.artifact(pipeline.pairs(c)), shared) for c in concepts}
    shown = min(SHOWN, *(len(targets["train"]) for _, targets in pairs.values()), SHOWN)
    sources = [photos["train"][:shown] for photos, _ in pairs.values()]
    rows: dict[str, Tensor] = {}
    if all(torch.equal(own, sources[0]) for own in sources):
        rows["photo"] = sources[0]
    for (prompt, (_, targets)), own in zip(pairs.items(), sources, strict=True):
        if "photo" not in rows:
            rows[f"photos for {prompt}"] = own
        rows[prompt] = targets["train"][:shown]
    return rows, [f"train photo {i}" for i in range(shown)]


def flawed(pipeline: Pipeline) -> str:
    """How many edits came out flawed over all concepts, for editors that look; else nothing."""
    reports = [pipeline.store.metrics(pipeline.pairs(concept)) for concept in pipeline.concepts]
    reports = [report for report in reports if "dropped" in report]
    found = {flaw: sum(report.get(flaw, 0) for report in reports) for flaw in FLAWS}
    dropped = sum(len(rows) for report in reports for rows in report["dropped"].values())
    if not any(found.values()):
        return ""
    said = ", ".join(f"{count} {flaw}" for flaw, count in found.items() if count)
    edits = sum(report["edits"] for report in reports)
    return f"; of {edits} edits {said}; {dropped} pairs left out"

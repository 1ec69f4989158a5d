"""Stage 1: photos, each concept's edited photos. `python -m experiments.collect_pairs` or `make pairs`."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import pair_tensors, tensors
from experiments.pipeline.options import plain
from experiments.stages.editors import editor
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.editors.diffusion.resumable import FLAWS
from weightgen.data.photos import PHOTOS
from weightgen.data.splits import SPLITS
from weightgen.evaluation.grid import grid
from weightgen.files import save_tensors, write_json

log = logging.getLogger(__name__)
SHOWN = 6


def build_photos(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """photos.safetensors: train (N, 3, S, S) and test (M, 3, S, S) uint8; names.json: each crop's photo."""
    photos = make(PHOTOS, plain(pipeline.cfg.photos)).load()
    save_tensors(folder / "photos.safetensors", {"train": photos.train, "test": photos.test})
    write_json(folder / "names.json", {"names": photos.names, "attribution": photos.attribution})
    return {"train": len(photos.train), "test": len(photos.test)}


def build_pairs(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """targets.safetensors: the photos edited by the concept, uint8; sources.safetensors: what they were made of, where that
    is not every photo in order."""
    start = time.perf_counter()
    photos = {}
    if pipeline.premade is None:
        photos = tensors(pipeline.store.require(pipeline.photos) / "photos.safetensors")
    made = editor(pipeline.cfg).pairs(photos, spec.subject, folder)
    save_tensors(folder / "targets.safetensors", made.targets)
    if made.sources is not None:
        save_tensors(folder / "sources.safetensors", made.sources)
    seconds = {"seconds": time.perf_counter() - start}  # an editor that resumes knows those of before as well
    return seconds | {"pairs": sum(map(len, made.targets.values()))} | made.report


BUILDERS = {"photos": build_photos, "pairs": build_pairs}


def sample(pipeline: Pipeline) -> tuple[dict[str, Tensor], list[str]]:
    """Some photos and what some concepts make of them: rows and column labels of a contact sheet."""
    concepts = [c for split in SPLITS for c in pipeline.split(split)[: SHOWN // 2]][: 2 * SHOWN]
    pairs = {concept.prompt: pair_tensors(pipeline, concept) for concept in concepts}
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
    found = {flaw: sum(report[flaw] for report in reports) for flaw in FLAWS}
    dropped = sum(len(rows) for report in reports for rows in report["dropped"].values())
    if not any(found.values()):
        return ""
    said = ", ".join(f"{count} {flaw}" for flaw, count in found.items() if count)
    edits = sum(report["edits"] for report in reports)
    return f"; of {edits} edits {said}; {dropped} pairs left out"


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.pairs(concept) for concept in pipeline.concepts])
    folder = Path(cfg.paths.reports) / cfg.recipe
    folder.mkdir(parents=True, exist_ok=True)
    grid(*sample(pipeline), folder / "pairs.png", title=f"{cfg.recipe}: pairs")
    counts = "their own photos" if pipeline.premade else pipeline.store.metrics(pipeline.photos)
    log.info(
        "pairs: %d concepts of %s%s; some in %s", len(pipeline.concepts), counts, flawed(pipeline), folder / "pairs.png"
    )

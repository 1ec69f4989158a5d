"""Stage 1: photos, each concept's edited photos. `python -m experiments.collect_pairs` or `make pairs`."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor

from experiments._app import app
from experiments._load import tensors
from experiments.pipeline import Pipeline
from weightgen.artifacts import Spec
from weightgen.data.concepts import SPLITS
from weightgen.evaluation.plots import grid

log = logging.getLogger(__name__)
SHOWN = 6


def build_photos(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """photos.safetensors: train (N, 3, S, S) and test (M, 3, S, S) uint8; names.json: each crop's photo."""
    photos = instantiate(pipeline.cfg.photos).load()
    save_file({"train": photos.train, "test": photos.test}, folder / "photos.safetensors")
    (folder / "names.json").write_text(json.dumps({"names": photos.names, "attribution": photos.attribution}))
    return {"train": len(photos.train), "test": len(photos.test)}


def build_pairs(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """targets.safetensors: the same photos edited by the concept, uint8."""
    photos = tensors(pipeline.store.require(pipeline.photos) / "photos.safetensors")
    editor = instantiate(pipeline.cfg.editor)
    start = time.perf_counter()
    edited = {
        part: (editor.edit(images.float() / 255, spec.subject) * 255).round().byte()
        for part, images in photos.items()
    }
    save_file(edited, folder / "targets.safetensors")
    return {"seconds": time.perf_counter() - start, "pairs": sum(map(len, edited.values()))}


BUILDERS = {"photos": build_photos, "pairs": build_pairs}


def sample(pipeline: Pipeline) -> tuple[dict[str, Tensor], list[str]]:
    """Some photos and what some concepts make of them: rows and column labels of a contact sheet."""
    concepts = [c for split in SPLITS for c in pipeline.split(split)[: SHOWN // 2]][: 2 * SHOWN]
    targets = {
        concept.prompt: tensors(pipeline.store.require(pipeline.pairs(concept)) / "targets.safetensors")
        for concept in concepts
    }
    photos = tensors(pipeline.store.require(pipeline.photos) / "photos.safetensors")
    rows = {"photo": photos["train"][:SHOWN]} | {p: t["train"][:SHOWN] for p, t in targets.items()}
    return rows, [f"train photo {i}" for i in range(len(rows["photo"]))]


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.pairs(concept) for concept in pipeline.concepts])
    folder = Path(cfg.paths.reports) / cfg.recipe
    folder.mkdir(parents=True, exist_ok=True)
    grid(*sample(pipeline), folder / "pairs.png", title=f"{cfg.recipe}: pairs")
    counts = pipeline.store.metrics(pipeline.photos)
    log.info("pairs: %d concepts of %s; some in %s", len(pipeline.concepts), counts, folder / "pairs.png")


if __name__ == "__main__":
    main()

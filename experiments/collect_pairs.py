"""Stage 1: photos, each concept's edited photos. `python -m experiments.collect_pairs` or `make pairs`."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import save_file

from experiments._app import app
from experiments._load import tensors
from experiments.pipeline import Pipeline
from weightgen.artifacts import Spec

log = logging.getLogger(__name__)


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


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.pairs(concept) for concept in pipeline.concepts])
    log.info("pairs: %d concepts of %s", len(pipeline.concepts), pipeline.store.metrics(pipeline.photos))


if __name__ == "__main__":
    main()

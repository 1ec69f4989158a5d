"""The choice of train photos for the base and for fine-tuning, made once a configuration."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors.torch import load_file
from torch import Tensor

from experiments.pipeline.options import plain
from weightgen.artifacts import Spec, Store
from weightgen.choices import make
from weightgen.data.photos import SUBSETS
from weightgen.data.photos.subset import EveryPhoto
from weightgen.errors import WeightgenError
from weightgen.evaluation import FEATURES
from weightgen.files import save_tensors


def key(cfg: DictConfig) -> dict[str, Any]:
    """What the choice adds to a key: nothing where every photo is used."""
    return {} if SUBSETS.find(cfg.subset.name) is EveryPhoto else {"subset": plain(cfg.subset)}


def budget(cfg: DictConfig, given: dict[str, Any]) -> dict[str, Any]:
    """A training budget for the chosen photos."""
    return _without_features(cfg).budget(given)


def concepts(cfg: DictConfig, count: int, default: int) -> int:
    """How many of `count` train concepts the base sees."""
    return _without_features(cfg).concepts(count, default)


def _without_features(cfg: DictConfig) -> EveryPhoto:
    return make(SUBSETS, plain(cfg.subset) | ({"features": None} if "features" in cfg.subset else {}))


def train_rows(cfg: DictConfig, store: Store, photos: Spec, sources: Any) -> Tensor | None:
    """Rows of the train photos to learn from, ascending; None: all.

    sources: what the pairs are made of. Raises WeightgenError where a concept has photos of its own in place of those.
    """
    if not key(cfg):
        return None
    shared = load_file(store.require(photos) / "photos.safetensors")["train"]
    if not isinstance(sources, Tensor) or not torch.equal(sources, shared):
        raise WeightgenError(
            "a subset is of the photos that all concepts share, and these have their own: use subset=all"
        )
    spec = Spec("subset", 1, key(cfg) | {"seed": cfg.build_seed}, (photos,), "base", "subset of the photos")

    def build(folder: Path) -> dict[str, Any]:
        options = plain(cfg.subset)
        features = {"features": make(FEATURES, options["features"])} if "features" in options else {}
        rows = make(SUBSETS, options | features).rows(shared, cfg.build_seed)
        save_tensors(folder / "rows.safetensors", {"rows": rows})
        return {"photos": len(shared), "chosen": len(rows)}

    return load_file(store.ensure(spec, build) / "rows.safetensors")["rows"]

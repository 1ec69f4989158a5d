"""The choice of train photos for the base and for fine-tuning, made once a configuration."""

from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from experiments._options import plain
from weightgen.artifacts import Spec, Store
from weightgen.subset import EveryPhoto


def key(cfg: DictConfig) -> dict[str, Any]:
    """What the choice adds to a key: nothing where every photo is used."""
    return {} if get_class(cfg.subset._target_) is EveryPhoto else {"subset": plain(cfg.subset)}


def budget(cfg: DictConfig, given: dict[str, Any]) -> dict[str, Any]:
    """A training budget for the chosen photos."""
    return _without_features(cfg).budget(given)


def concepts(cfg: DictConfig, count: int, default: int) -> int:
    """How many of `count` train concepts the base sees."""
    return _without_features(cfg).concepts(count, default)


def _without_features(cfg: DictConfig) -> EveryPhoto:
    return instantiate(cfg.subset, **({"features": None} if "features" in cfg.subset else {}))


def train_rows(cfg: DictConfig, store: Store, photos: Spec) -> Tensor | None:
    """Rows of the train photos to learn from, ascending; None: all."""
    if not key(cfg):
        return None
    spec = Spec("subset", 1, key(cfg) | {"seed": cfg.build_seed}, (photos,), "base", "subset of the photos")

    def build(folder: Path) -> dict[str, Any]:
        train = load_file(store.require(photos) / "photos.safetensors")["train"]
        rows = instantiate(cfg.subset).rows(train, cfg.build_seed)
        save_file({"rows": rows}, folder / "rows.safetensors")
        return {"photos": len(train), "chosen": len(rows)}

    return load_file(store.ensure(spec, build) / "rows.safetensors")["rows"]

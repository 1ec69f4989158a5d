"""The configured editor, made once a process: a loaded model serves all concepts."""

import gc
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf


def editor(cfg: DictConfig) -> Any:
    """The editor of a configuration; its model loads at the first edit."""
    return _editor(OmegaConf.to_yaml(cfg.editor, resolve=True))


@lru_cache(maxsize=1)
def _editor(description: str) -> Any:
    return instantiate(OmegaConf.create(description))


def release_editor() -> None:
    """Let a loaded model go: what comes after editing wants the memory."""
    if _editor.cache_info().currsize:
        _editor.cache_clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def premade(cfg: DictConfig) -> Any | None:
    """The editor where it brings concepts and photos of its own, else None."""
    return editor(cfg) if hasattr(get_class(cfg.editor._target_), "concepts") else None


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What of the editor's options belongs into keys: all, unless the editor says which decide its pixels."""
    options, kind = OmegaConf.to_container(cfg.editor, resolve=True), get_class(cfg.editor._target_)
    if not hasattr(kind, "identity"):
        return options
    return kind.identity(options, Path(cfg.paths.artifacts) / ".files.json")

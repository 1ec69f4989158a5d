"""The configured editor, made once a process: a loaded model serves all concepts."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.options import plain
from weightgen.choices import make
from weightgen.data.editors import EDITORS

_made: dict[str, Any] = {}  # the last editor, by its options


def editor(cfg: DictConfig) -> Any:
    """The editor of a configuration; its model loads at the first edit."""
    description = OmegaConf.to_yaml(cfg.editor, resolve=True)
    if description not in _made:
        release_editor()
        _made.clear()
        _made[description] = make(EDITORS, plain(cfg.editor))
    return _made[description]


def release_editor() -> None:
    """Let a loaded model go: what comes after editing wants the memory."""
    for made in _made.values():
        if hasattr(made, "release"):
            made.release()


def premade(cfg: DictConfig) -> Any | None:
    """The editor where it brings concepts and photos of its own, else None."""
    return editor(cfg) if hasattr(EDITORS.find(cfg.editor.name), "concepts") else None


def identity(cfg: DictConfig) -> dict[str, Any]:
    """What of the editor's options belongs into keys: all, unless the editor says which decide its pixels."""
    options, kind = plain(cfg.editor), EDITORS.find(cfg.editor.name)
    if not hasattr(kind, "identity"):
        return options
    return kind.identity(options, Path(cfg.paths.artifacts) / ".files.json")

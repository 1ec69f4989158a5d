"""Options of the configuration as artifact keys hold them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from weightgen.files import content_hash

LOCAL_MODELS = ("pretrained", "architecture", "weights", "model")  # options that may name a file or folder


def plain(node: Any) -> Any:
    """A config node as resolved plain Python. Raises MissingMandatoryValue where an option has no value."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node


def by_content(options: Any) -> Any:
    """`plain`, but a model's local file or folder stands as its content: moved it is the same, another of its name is
    not. Names of hub models and tags stay as they are."""

    def content(key: str, value: Any) -> Any:
        local = key in LOCAL_MODELS and isinstance(value, str) and Path(value).expanduser().exists()
        return f"sha256:{content_hash(value)}" if local else value

    return {key: content(key, value) for key, value in plain(options).items()}


class Options:
    """Parts of a configuration as plain Python, each resolved once: `options("budget.base")`."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self._known: dict[str, Any] = {}

    def __call__(self, path: str) -> Any:
        """Raises MissingMandatoryValue where an option has no value."""
        return self.once(path, lambda: plain(OmegaConf.select(self.cfg, path, throw_on_missing=True)))

    def by_content(self, *groups: str) -> dict[str, Any]:
        """Whole groups; local models stand as their content."""
        return {group: self.once(f"{group} by content", partial(by_content, self(group))) for group in groups}

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, computed once."""
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

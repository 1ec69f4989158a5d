"""Options of the configuration as artifact keys hold them."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from weightgen.files import content_hash

LOCAL_MODELS = ("pretrained", "architecture", "weights", "model")  # options that may name a file or folder


def plain(node: Any) -> Any:
    """A config node as resolved plain Python. Raises MissingMandatoryValue where an option has no value."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if OmegaConf.is_config(node) else node


def by_content(node: Any) -> Any:
    """`plain`, but a model's local file or folder stands as its content: moved it is the same, another of its name is
    not. Names of hub models and tags stay as they are."""

    def content(key: str, value: Any) -> Any:
        local = key in LOCAL_MODELS and isinstance(value, str) and Path(value).expanduser().exists()
        return f"sha256:{content_hash(value)}" if local else value

    return {key: content(key, value) for key, value in plain(node).items()}


PHOTO_DEFAULTS = {"crop": "random"}  # options younger than artifacts that lack them
PHOTO_PLACES = ("root", "download", "streaming")


def photo_options(node: DictConfig) -> dict[str, Any]:
    """Options of a photo source without its folder: where photos lie, and how they came there, is not what they are."""
    return {
        key: value
        for key, value in plain(node).items()
        if key not in PHOTO_PLACES and (key, value) not in PHOTO_DEFAULTS.items()
    }

"""Model configurations of open_clip that come from outside: what they may name, so that none can choose which code runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weightgen.errors import MissingModel
from weightgen.files import read_json

CONFIG = "open_clip_config.json"  # of a folder in open_clip's own layout
TOKENIZER_OPTIONS = frozenset({"clean", "strip_sep_token", "language", "tokenizer_mode"})
NAMED = ("hf_model_name", "hf_tokenizer_name")  # of other models, whose files open_clip fetches


def model_config(file: Path) -> Mapping[str, Any]:
    """The model configuration in `file`, known to be harmless.

    Raises MissingModel where there is none, or where it wants code, names a model that none of open_clip's own
    configurations names, or hands other options to its tokenizer than those of open_clip.
    """
    where = f"text_encoder: {file}"
    content = read_json(file, "give a model config in open_clip's form")
    config = content.get("model_cfg", content) if isinstance(content, Mapping) else {}
    if missing := {"embed_dim", "vision_cfg", "text_cfg"} - set(config):
        raise MissingModel(f"{where} is no open_clip model config, it lacks {', '.join(sorted(missing))}")
    for path, value in _entries(config):
        key = path.rpartition(".")[2]
        if key == "trust_remote_code" or (isinstance(value, str) and value.startswith(("hf-hub:", "local-dir:"))):
            raise MissingModel(f"{where} wants code or files from elsewhere ({path}: {value!r}), which is refused")
        if key in NAMED and value and value not in _known(key):
            raise MissingModel(f"{where} names {path}={value!r}, which none of open_clip's own models does: refused")
    options = config["text_cfg"].get("tokenizer_kwargs", {}) if isinstance(config["text_cfg"], Mapping) else {}
    if unknown := sorted(set(options) - TOKENIZER_OPTIONS):
        raise MissingModel(f"{where} hands {', '.join(unknown)} to its tokenizer, which is refused")
    return config


def check_folder(folder: Path) -> None:
    """Raises MissingModel where the model config of a folder, or of its tokenizer, could make foreign code run."""
    model_config(folder / CONFIG)
    for file in folder.glob("*.json"):
        content = read_json(file, "give a model folder of open_clip")
        if isinstance(content, Mapping) and "auto_map" in content:
            raise MissingModel(f"text_encoder: {file} names code of its own (auto_map), which is refused")


def _known(key: str) -> set[str]:
    """What open_clip's own configurations name."""
    import open_clip

    configs = map(open_clip.get_model_config, open_clip.list_models())
    return {value for config in configs for path, value in _entries(config) if path.rpartition(".")[2] == key}


def _entries(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of every entry of nested mappings and lists."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        place = f"{path}.{key}" if path else str(key)
        yield place, inner
        yield from _entries(inner, place)

"""Finding and loading the diffusion models behind editors: a local folder, or a hub id."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from weightgen.errors import MissingModel
from weightgen.files import FileMemory, content_hash
from weightgen.network import require_network

INDEX = "model_index.json"
REMEDY = "set editor.model=<local folder>"


def local_folder(model: str) -> Path | None:
    """The folder that `model` names, or None for a hub id. MissingModel: a path, but of no saved pipeline."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / INDEX).is_file():
            raise MissingModel(
                f"editor.model={model}: the folder holds no {INDEX}; give the folder that "
                "save_pretrained of a diffusers pipeline wrote"
            )
        return folder
    if model.count("/") != 1 or model[0] in "./~":
        raise MissingModel(f"editor.model={model}: no such folder, and hub ids read owner/name; {REMEDY} that exists")
    return None


@lru_cache(maxsize=4)
def content(folder: Path, memory: Path | None) -> str:
    """sha256 of a saved pipeline: its weights, configurations and tokenizer files, whatever the folder is called."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name[0] != "." and _counts(file))
    return content_hash(folder, files, FileMemory(memory))


def _counts(file: Path) -> bool:
    return file.suffix in (".json", ".safetensors", ".txt", ".model", ".jinja")


def load_pipeline(kind: str, model: str, revision: str | None, **options: Any) -> Any:
    """from_pretrained of a pipeline class, from safetensors alone. kind: a class of diffusers, or "module:class".

    MissingModel, within seconds and not after endless retries, where the model cannot be had or read.
    """
    folder = local_folder(model)
    where = {"local_files_only": True} if folder else {"revision": revision} | _hub(model, revision)
    module, _, name = kind.rpartition(":")
    pipeline_class = getattr(importlib.import_module(module or "diffusers"), name)
    try:
        with _quiet():
            return pipeline_class.from_pretrained(str(folder or model), use_safetensors=True, **where, **options)
    except Exception as error:  # diffusers raises whatever its loaders raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingModel(
            f"editor.model={model} cannot be loaded as {name} ({reason[:300]}); {REMEDY} of such a pipeline, "
            "with safetensors weights"
        ) from error


def _hub(model: str, revision: str | None) -> dict[str, bool]:
    """Where to look for a hub model: the hub, or where it is silent what an earlier run fetched. MissingModel: neither."""
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        require_network(constants.ENDPOINT)
    except OSError as error:
        if isinstance(try_to_load_from_cache(model, INDEX, revision=revision), str):
            return {"local_files_only": True}
        raise MissingModel(
            f"editor.model={model} is a hub model that is not on this machine, and the hub cannot be reached "
            f"({getattr(error, 'reason', error)}); {REMEDY} of a saved diffusers pipeline, or connect and run again"
        ) from error
    return {"local_files_only": False}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' notes and bars, except those of downloads."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = [(library, library.get_verbosity()) for library in (of_diffusers, of_transformers)]
    for library, _ in before:
        library.set_verbosity(logging.ERROR)
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch_dtype.*", category=FutureWarning)
            yield
    finally:
        for library, level in before:
            library.set_verbosity(level)
            library.enable_progress_bar()

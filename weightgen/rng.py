"""Random streams: what is drawn is a function of a seed, of what it is drawn for, and of the step, and of nothing else.

Every random draw of the project goes through one of these functions, each with a name of its own, "<who>/<what>": no two
draws share a stream, whatever their seeds and steps. torch and numpy are imported where they are used: an app that only asks
for keys loads neither.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derived_seed(seed: int, name: str, step: int = 0) -> int:
    """What seeds the stream, in [0, 2**32): torch's CPU generator takes no more."""
    return int.from_bytes(sha256(f"{name} {seed} {step}".encode()).digest()[:4], "big")


def stream(seed: int, name: str, step: int = 0, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """torch's generator of the stream; on the CPU, so that every device gets the same draws, unless told otherwise."""
    import torch

    return torch.Generator(device).manual_seed(derived_seed(seed, name, step))


def numpy_stream(seed: int, name: str, step: int = 0) -> "np.random.Generator":
    """numpy's generator of the stream."""
    import numpy as np

    return np.random.default_rng(derived_seed(seed, name, step))


def reseed(seed: int, name: str, step: int = 0) -> None:
    """torch's global generators, which layers such as dropout draw from, are the stream from here on."""
    import torch

    torch.manual_seed(derived_seed(seed, name, step))


@contextmanager
def drawing_from(seed: int, name: str, step: int = 0) -> Iterator[None]:
    """Inside, torch's global CPU generator, from which new layers draw their weights, is the stream; then as before."""
    import torch

    with torch.random.fork_rng(devices=[]):
        reseed(seed, name, step)
        yield

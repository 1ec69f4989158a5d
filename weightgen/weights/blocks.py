"""Equal-sized blocks of a LoRA state (Gong et al. 2024, Method 5), exact in both directions."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from weightgen.errors import WeightgenError

RULES = (1, 2, 3)


@dataclass(frozen=True)
class BlockLayout:
    """A bijection between a LoRA state and (K, D) blocks plus padding.

    shapes: factor name ("<layer>.A", "<layer>.B") -> shape, in the state's order. size: D.
    rule: our reading of the paper's grouping rules (their wording is not public): 1, a block never mixes
    layers; 2, layers of one kind (equal factor shapes) share blocks; 3, all weights in one row, cut
    regardless of borders. Each group is padded with zeros to whole blocks.
    """

    shapes: Mapping[str, tuple[int, ...]]
    size: int = 256
    rule: int = 1
    groups: dict[str, list[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise WeightgenError(f"blocks.rule={self.rule} is unknown: use one of {RULES}")
        if self.size < 1 or not self.shapes:
            raise WeightgenError("a block layout needs a positive blocks.size and at least one weight")
        object.__setattr__(self, "shapes", {name: tuple(shape) for name, shape in self.shapes.items()})
        groups: dict[str, list[str]] = {}
        for name in self.shapes:
            group = {1: self._layer(name), 2: self._kind(name), 3: "all"}[self.rule]
            groups.setdefault(group, []).append(name)
        object.__setattr__(self, "groups", groups)

    @staticmethod
    def _layer(name: str) -> str:
        return name.rpartition(".")[0]

    def _kind(self, name: str) -> str:
        """The layer's signature: shapes of all its factors, as "A64x4x3x3_B4x64"."""
        layer = self._layer(name)
        factors = {n.rpartition(".")[2]: s for n, s in self.shapes.items() if self._layer(n) == layer}
        return "_".join(factor + "x".join(map(str, shape)) for factor, shape in sorted(factors.items()))

    def _numel(self, name: str) -> int:
        return int(torch.Size(self.shapes[name]).numel())

    def _group_weights(self, group: str) -> int:
        return sum(self._numel(name) for name in self.groups[group])

    def _group_blocks(self, group: str) -> int:
        return -(-self._group_weights(group) // self.size)

    @property
    def weights(self) -> int:
        """P: weights of the state, without padding."""
        return sum(map(self._numel, self.shapes))

    @property
    def blocks(self) -> int:
        """K."""
        return sum(map(self._group_blocks, self.groups))

    def to_blocks(self, state: Mapping[str, Tensor]) -> Tensor:
        """State of (*shape) or batched (N, *shape) tensors -> float32 (K, D) or (N, K, D), zero-padded.

        Raises WeightgenError if names or shapes differ from the layout's.
        """
        if state.keys() != self.shapes.keys():
            odd = sorted(state.keys() ^ self.shapes.keys())[0]
            raise WeightgenError(f"LoRA state and block layout differ at {odd!r}: rebuild it with `make blocks`")
        rows = []
        for group, names in self.groups.items():
            flat = []
            for name in names:
                shape, tensor = self.shapes[name], state[name]
                batch = tensor.shape[: tensor.ndim - len(shape)]
                if tuple(tensor.shape[len(batch) :]) != shape:
                    raise WeightgenError(f"{name!r} has shape {tuple(tensor.shape)}, the layout wants {shape}")
                flat.append(tensor.reshape(*batch, -1).float())
            row = torch.cat(flat, -1)
            padding = self._group_blocks(group) * self.size - row.shape[-1]
            rows.append(torch.nn.functional.pad(row, (0, padding)).unflatten(-1, (-1, self.size)))
        return torch.cat(rows, -2)

    def from_blocks(self, blocks: Tensor) -> dict[str, Tensor]:
        """(..., K, D) -> state of (..., *shape) tensors; padding is dropped. Differentiable.

        Raises ValueError if K or D is not the layout's.
        """
        if tuple(blocks.shape[-2:]) != (self.blocks, self.size):
            raise ValueError(f"blocks are {tuple(blocks.shape)}, the layout wants (..., {self.blocks}, {self.size})")
        state, start = {}, 0
        for group, names in self.groups.items():
            stop = start + self._group_blocks(group)
            row = blocks[..., start:stop, :].flatten(-2)
            sizes = [*map(self._numel, names), (stop - start) * self.size - self._group_weights(group)]
            for name, part in zip(names, row.split(sizes, -1), strict=False):
                state[name] = part.reshape(*blocks.shape[:-2], *self.shapes[name])
            start = stop
        return {name: state[name] for name in self.shapes}

    def valid(self) -> Tensor:
        """bool (K, D): True at weights, False at padding."""
        ones = {name: torch.ones(shape) for name, shape in self.shapes.items()}
        return self.to_blocks(ones).bool()

    def to_json(self) -> dict:
        """The layout as plain JSON; `from_json` is its inverse."""
        return {"shapes": {n: list(s) for n, s in self.shapes.items()}, "size": self.size, "rule": self.rule}

    @classmethod
    def from_json(cls, data: Mapping) -> "BlockLayout":
        return cls({n: tuple(s) for n, s in data["shapes"].items()}, data["size"], data["rule"])

    def hash(self) -> str:
        """sha256 of the layout: two states with one hash can be mixed."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()

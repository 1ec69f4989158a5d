"""What a few pairs say about a concept: the L1 loss of a LoRA given as blocks, and that loss's gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from weightgen.errors import WeightgenError
from weightgen.generation.through_base import ThroughBase
from weightgen.text.encoders import TextFeatures


@dataclass(frozen=True)
class Evidence:
    """Pairs of one concept, seen through the frozen base translator.

    source, target: uint8 (k, 3, H, W); text: the concept's prompt (B = 1). All on the device of `through`. Raises
    WeightgenError if pairs and text do not fit together.
    """

    source: Tensor
    target: Tensor
    through: ThroughBase
    text: TextFeatures

    def __post_init__(self) -> None:
        if self.source.shape != self.target.shape or not len(self.source):
            shapes = f"{tuple(self.source.shape)} and {tuple(self.target.shape)}"
            raise WeightgenError(f"evidence needs one target for each source and at least one pair, not {shapes}")
        if self.source.dtype != torch.uint8 or self.target.dtype != torch.uint8 or len(self.text) != 1:
            raise WeightgenError("evidence is pairs of uint8 images of one concept with the text of its prompt")

    def __len__(self) -> int:
        return len(self.source)

    def first(self, pairs: int) -> Evidence:
        """The first `pairs` pairs. Raises WeightgenError if there are fewer."""
        if pairs > len(self):
            raise WeightgenError(f"{pairs} pairs were asked for, there are {len(self)}: raise photos.train")
        return replace(self, source=self.source[:pairs], target=self.target[:pairs])

    @cached_property
    def batch(self) -> Mapping[str, Tensor]:
        """The same as `ThroughBase` takes it, of one concept."""
        images = {"source": self.source[None], "target": self.target[None]}
        return images | {"tokens": self.text.tokens, "text_mask": self.text.mask}

    def loss(self, blocks: Tensor) -> Tensor:
        """blocks: (K, D) -> scalar, mean absolute error in [-1, 1] units (the L1 term of pix2pix eq. 4)."""
        return self.through.loss(blocks[None], self.batch)[0]

    def losses(self, sets: Tensor) -> Tensor:
        """`loss` of several LoRAs at once: (n, K, D) -> (n,)."""
        batch = {name: value.expand(len(sets), *value.shape[1:]) for name, value in self.batch.items()}
        return self.through.loss(sets, batch)

    def loss_and_gradient(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """blocks: (K, D) -> loss, d loss / d blocks (K, D), zero at padding; works under torch.no_grad as well."""
        loss, gradient = self.through.loss_and_gradient(blocks[None], self.batch)
        return loss[0], gradient[0]

"""What a few pairs say about a concept: the L1 loss of a LoRA given as blocks, and that loss's gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import l1_loss

from weightgen.errors import WeightgenError
from weightgen.text.encoders import TextFeatures
from weightgen.translation.lora import lora_parameters
from weightgen.translation.training import to_signed
from weightgen.weights.blocks import BlockLayout


@dataclass(frozen=True)
class Evidence:
    """Pairs of one concept, seen through the base translator.

    source, target: uint8 (k, 3, H, W); model: the base with its LoRA injected, whose own trainable factors
    are neither read nor written (frozen ones, such as A under lora.train=b, are read); layout: of the
    trainable factors; text: the concept's prompt (B = 1). All on the device of `model`, which runs in the
    mode it is in. Raises WeightgenError if pairs, text, model and layout do not fit together.
    """

    source: Tensor
    target: Tensor
    model: nn.Module
    layout: BlockLayout
    text: TextFeatures

    def __post_init__(self) -> None:
        if self.source.shape != self.target.shape or not len(self.source):
            shapes = f"{tuple(self.source.shape)} and {tuple(self.target.shape)}"
            raise WeightgenError(f"evidence needs one target for each source and at least one pair, not {shapes}")
        if self.source.dtype != torch.uint8 or self.target.dtype != torch.uint8 or len(self.text) != 1:
            raise WeightgenError("evidence is pairs of uint8 images of one concept with the text of its prompt")
        shapes = {name: tuple(factor.shape) for name, factor in lora_parameters(self.model).items()}
        if shapes != self.layout.shapes:
            odd = next(n for n in [*shapes, *self.layout.shapes] if shapes.get(n) != self.layout.shapes.get(n))
            raise WeightgenError(f"model and block layout differ at {odd!r}: rebuild it with `make blocks`")

    def __len__(self) -> int:
        return len(self.source)

    def first(self, pairs: int) -> Evidence:
        """The first `pairs` pairs. Raises WeightgenError if there are fewer."""
        if pairs > len(self):
            raise WeightgenError(f"{pairs} pairs were asked for, there are {len(self)}: raise photos.train")
        return replace(self, source=self.source[:pairs], target=self.target[:pairs])

    @cached_property
    def _names(self) -> dict[str, str]:
        """Factor of the layout -> the model's parameter."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return {factor: names[id(parameter)] for factor, parameter in lora_parameters(self.model).items()}

    @cached_property
    def _pairs(self) -> tuple[Tensor, Tensor]:
        return to_signed(self.source), to_signed(self.target)

    def outputs(self, blocks: Tensor) -> Tensor:
        """blocks: (K, D) -> the translated sources, (k, 3, H, W) in [-1, 1]; differentiable in blocks."""
        factors = self.layout.from_blocks(blocks)
        tokens = self.text.tokens.expand(len(self), -1, -1)
        mask = self.text.mask.expand(len(self), -1)
        state = {name: factors[factor] for factor, name in self._names.items()}
        return functional_call(self.model, state, (self._pairs[0], tokens, mask))

    def loss(self, blocks: Tensor) -> Tensor:
        """blocks: (K, D) -> scalar, mean absolute error in [-1, 1] units (the L1 term of pix2pix eq. 4)."""
        return l1_loss(self.outputs(blocks), self._pairs[1])

    def loss_and_gradient(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """blocks: (K, D) -> loss, d loss / d blocks (K, D), zero at padding; works under torch.no_grad as well."""
        with torch.enable_grad():
            point = blocks.detach().requires_grad_()
            loss = self.loss(point)
            return loss.detach(), torch.autograd.grad(loss, point)[0]

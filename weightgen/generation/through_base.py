"""Weights judged by what they do through the frozen base: LoRAs given as blocks, their losses on pairs and the gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from weightgen.errors import WeightgenError
from weightgen.translation.pictures import to_signed
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.blocks import BlockLayout


class ThroughBase(nn.Module):
    """The frozen base with LoRAs given as blocks: how far what it draws is from concepts' own edits.

    A batch is a dict: source, target uint8 (N, m, 3, H, W), pairs of N concepts; tokens (N, L, E); text_mask (N, L) bool.
    Raises WeightgenError if `stacked` and `layout` are of different LoRAs.
    """

    def __init__(self, stacked: StackedLora, layout: BlockLayout) -> None:
        super().__init__()
        if stacked.shapes != layout.shapes:
            names = [*stacked.shapes, *layout.shapes]
            odd = next(name for name in names if stacked.shapes.get(name) != layout.shapes.get(name))
            raise WeightgenError(f"base and block layout differ at {odd!r}: rebuild the layout with `make blocks`")
        self.stacked = stacked
        self.layout = layout
        self.register_buffer("valid", layout.valid(), persistent=False)

    def loss(self, blocks: Tensor, batch: Mapping[str, Tensor], part: slice = slice(None)) -> Tensor:
        """blocks: (N, K, D) raw; the L1, in [-1, 1] units (pix2pix eq. 4), of each concept's pairs `part` -> (N,)."""
        fake, target = self.pictures(blocks, batch, part)
        return l1_loss(fake, target, reduction="none").flatten(1).mean(1).unflatten(0, (len(blocks), -1)).mean(1)

    def pictures(self, blocks: Tensor, batch: Mapping[str, Tensor], part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """What is drawn of each concept's pairs `part`, and their targets: (N m, 3, H, W) in [-1, 1], concept by concept."""
        source, target = batch["source"][:, part], batch["target"][:, part]
        prompt = (batch[name].repeat_interleave(source.shape[1], 0) for name in ("tokens", "text_mask"))
        fake = self.stacked(to_signed(source).flatten(0, 1), *prompt, self.layout.from_blocks(blocks))
        return fake, to_signed(target).flatten(0, 1)

    def loss_and_gradient(
        self, blocks: Tensor, batch: Mapping[str, Tensor], part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Losses (N,) and d loss / d blocks of every concept at once (they share no weights): (N, K, D), 0 at padding.

        Works under torch.no_grad as well.
        """
        with torch.enable_grad():
            leaf = blocks.detach().requires_grad_()
            loss = self.loss(leaf, batch, part)
            return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]

"""From text to the blocks of a LoRA."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from weightgen.diffusion.sampler import Sampler
from weightgen.text.encoders import TextFeatures
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer


@dataclass(frozen=True)
class BlockGenerator:
    """denoiser + sampler + layout + normaliser: text -> blocks (PAPER Method 6)."""

    denoiser: nn.Module
    sampler: Sampler
    layout: BlockLayout
    normalizer: Normalizer

    def __call__(self, text: TextFeatures, noise: torch.Generator) -> Tensor:
        """text: N concepts -> (N, K, D), denormalised; every block of every concept in one batch."""
        index = torch.arange(self.layout.blocks, device=text.tokens.device).expand(len(text), -1)
        valid = self.layout.valid().to(text.tokens.device)
        blocks = self.sampler.sample(
            self.denoiser, index, text.tokens, text.mask, self.layout.size, noise, valid=valid.expand(len(text), -1, -1)
        )
        return self.normalizer.denormalize(blocks) * valid

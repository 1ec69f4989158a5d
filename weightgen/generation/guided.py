"""Weights from a few pairs of the new concept: learned refinement of a generated set, guided by the loss's gradient.

Text alone does not reach unseen factors. Each round shows a network, block by block, the gradient of the L1 loss
on k example pairs at the current weights, beside text and block index; it answers with a step for every weight. Its
honest rival at equal gradients is `few_steps`: plain Adam on the same pairs.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from weightgen.diffusion.joint import JointTransformer
from weightgen.diffusion.sampler import TRAIN_TIMESTEPS
from weightgen.generation.through_base import ThroughBase
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer

FEATURES = 5  # of each weight: value, gradient, its sign, last round's gradient, last round's step
ROUND_TIME = 100  # the first round has the diffusion time of pure noise; each further round has this much less


def unit(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K, D) -> each block divided by its root mean square, and that, (N, K, 1)."""
    rms = blocks.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-12)
    return blocks / rms, rms


class GuidedRefiner(nn.Module):
    """(weights, gradient, text) -> a step for every weight, in units of `rate` times the loss.

    The trunk is a JointTransformer over the blocks, read at its hidden tokens; a small net that all weights share turns
    each weight's features, modulated by its block's token, into a step; each block has a learned step size. Starts as sign
    descent at `rate` (in the weights' own units) times the loss, which is the first step of `few_steps`.
    """

    def __init__(
        self,
        block_size: int,
        blocks: int,
        text_dim: int,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 16,
        rate: float = 0.06,
    ) -> None:
        super().__init__()
        self.trunk = JointTransformer(block_size, blocks, text_dim, width, layers, heads, rank=0, evidence=True)
        self.trunk.write = nn.Identity()  # its tokens are what is read
        nn.init.normal_(self.trunk.read_evidence.weight, std=block_size**-0.5)
        self.magnitude = nn.Linear(1, width)
        self.mix = nn.Linear(FEATURES, hidden)
        self.modulate = nn.Linear(width, 2 * hidden)
        self.out = nn.Linear(hidden, 1)
        self.log_rate = nn.Linear(width, 1)
        for layer in (self.modulate, self.out, self.log_rate):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.rate = rate

    def forward(
        self, x: Tensor, gradient: Tensor, memory: tuple[Tensor, Tensor], t: Tensor, tokens: Tensor, text_mask: Tensor
    ) -> Tensor:
        """x: normalised weights, gradient: (N, K, D); memory: last round's (gradient, step), same shapes; t: (N,) the round
        as diffusion time; tokens: (N, L, E); text_mask: (N, L) -> (N, K, D)."""
        direction, rms = unit(gradient)
        previous, _ = unit(memory[0])
        index = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        h = self.trunk(x, t, index, tokens, text_mask, evidence=direction) + self.magnitude(rms.log() / 4 + 2)
        sign = torch.tanh(3 * direction)
        features = torch.stack([x, direction, sign, previous, memory[1]], -1)
        scale, shift = self.modulate(h)[:, :, None].chunk(2, dim=-1)
        step = self.out(gelu(self.mix(features) * (1 + scale) + shift))[..., 0] - sign
        return self.log_rate(h).clamp(-4, 4).exp() * step


class Guide(ThroughBase):
    """A refiner with the base and layout it works on: rounds for N concepts at once, one gradient a round."""

    def __init__(
        self, refiner: GuidedRefiner, stacked: StackedLora, layout: BlockLayout, normalizer: Normalizer
    ) -> None:
        super().__init__(stacked, layout)
        self.refiner = refiner
        self.normalizer = normalizer

    def rounds(self, blocks: Tensor, batch: Mapping[str, Tensor], pairs: int, rounds: int) -> Iterator[Tensor]:
        """Yields raw blocks (N, K, D) after each of `rounds` rounds guided by the first `pairs` pairs.

        Each round starts from the detached result of the one before: a loss on it reaches the refiner through one round.
        """
        memory = torch.zeros_like(blocks), torch.zeros_like(blocks)
        for number in range(rounds):
            blocks = blocks.detach()
            loss, gradient = self.loss_and_gradient(blocks, batch, slice(0, pairs))
            x = self.normalizer.normalize(blocks) * self.valid
            t = torch.full((len(blocks),), max(0, TRAIN_TIMESTEPS - 1 - ROUND_TIME * number), device=blocks.device)
            step = self.refiner(x, gradient, memory, t, batch["tokens"], batch["text_mask"]) * self.valid
            blocks = blocks + self.refiner.rate * loss[:, None, None] * step
            memory = gradient, step.detach()
            yield blocks

"""What both denoisers read beside x_t: the diffusion time and the prompt."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """t: (N,) integer diffusion steps -> (N, width)."""

    def __init__(self, width: int, frequencies: int = 128):
        super().__init__()
        self.frequencies = Timesteps(frequencies, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.mlp = TimestepEmbedding(frequencies, width)

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(self.frequencies(t).to(self.mlp.linear_1.weight.dtype))


class TextContext(nn.Module):
    """Token features of a prompt, normalised and projected, behind one learned token that is always visible.

    tokens: (N, L, E); mask: (N, L) bool -> context (N, 1 + L, width), mask (N, 1 + L) bool.
    A prompt with no visible token is thereby "no prompt", never a softmax over nothing.
    """

    def __init__(self, text_dim: int, width: int):
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.nothing = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        nothing = self.nothing.expand(len(tokens), 1, -1)
        return torch.cat([nothing, self.project(tokens)], dim=1), torch.cat([mask.new_ones(len(mask), 1), mask], 1)


def attention_bias(mask: Tensor, like: Tensor) -> Tensor:
    """mask: (N, S) bool, True = visible -> (N, 1, S) added to attention logits, 0 or the lowest finite
    number."""
    bias = torch.zeros(mask.shape, dtype=like.dtype, device=mask.device)
    return bias.masked_fill(~mask, torch.finfo(like.dtype).min)[:, None]

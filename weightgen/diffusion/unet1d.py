"""The paper's weight generator: a 1-D UNet over one weight block at a time (arXiv 2407.11966).

1-D ResBlocks take the time-step and the block-index embedding; 1-D transformer blocks cross-attend to the
prompt; skips join the two halves. Ours: a block's elements are parameters at fixed places, which convolutions
alone cannot tell apart, so each (block index, place) has a learned embedding and each block an output basis;
and `patch` elements form one position, which makes CPU training possible.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from weightgen.diffusion.basis import BlockBasis
from weightgen.diffusion.conditioning import TextContext, TimeEmbedding, attention_bias


class ResBlock1d(nn.Module):
    """h: (M, C, T), condition: (M, E) -> (M, C', T); the condition scales and shifts between the two
    convolutions."""

    def __init__(self, channels: int, out_channels: int, condition: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv1d(channels, out_channels, 3, padding=1)
        self.modulate = nn.Linear(condition, 2 * out_channels)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv1d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Identity() if channels == out_channels else nn.Conv1d(channels, out_channels, 1)
        nn.init.zeros_(self.conv2.weight)  # starts as the skip alone
        nn.init.zeros_(self.conv2.bias)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(F.silu(condition))[..., None].chunk(2, dim=1)
        inner = self.conv1(F.silu(self.norm1(h)))
        inner = self.norm2(inner) * (1 + scale) + shift
        return self.skip(h) + self.conv2(F.silu(inner))


class TextTransformer1d(BasicTransformerBlock):
    """Self-attention inside each block, cross-attention to its concept's prompt, feed-forward.

    h: (N*K, C, T); context: (N, S, W); bias: (N, 1, S) -> (N*K, C, T). Queries of a concept's K blocks meet
    that concept's keys in one attention, so that the prompt is projected once a concept and not once a block.
    """

    def __init__(self, channels: int, heads: int, context: int):
        super().__init__(channels, heads, channels // heads, cross_attention_dim=context)

    def forward(self, h: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        h = h.transpose(1, 2)  # (N*K, T, C)
        h = h + self.attn1(self.norm1(h))
        queries = self.norm2(h).reshape(len(context), -1, h.shape[-1])  # (N, K*T, C)
        h = h + self.attn2(queries, encoder_hidden_states=context, attention_mask=bias).reshape(h.shape)
        h = h + self.ff(self.norm3(h))
        return h.transpose(1, 2)


class Stage(nn.Module):
    """A ResBlock, then a text transformer where `attend`."""

    def __init__(self, channels: int, out_channels: int, condition: int, heads: int, context: int, attend: bool):
        super().__init__()
        self.res = ResBlock1d(channels, out_channels, condition)
        self.text = TextTransformer1d(out_channels, heads, context) if attend else None

    def forward(self, h: Tensor, condition: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        h = self.res(h, condition)
        return h if self.text is None else self.text(h, context, bias)


class BlockUNet1d(nn.Module):
    """Denoises each weight block alone.

    block_size: D, a multiple of patch * 2**(levels - 1); blocks: how many block indices there are; text_dim:
    E of the text encoder; width: channels of the first level (a multiple of 8 and of heads), doubled at the
    second and kept below it; levels: resolutions; heads: attention heads; patch: block elements that form one
    position; rank: of each block's own output basis (0 for none, as in the paper). Attention runs at the
    lowest resolution only (on the way down, in the middle, on the way up): everywhere, it would double the
    cost.
    """

    def __init__(
        self,
        block_size: int,
        blocks: int,
        text_dim: int,
        width: int = 64,
        levels: int = 3,
        heads: int = 4,
        patch: int = 16,
        rank: int = 32,
    ):
        super().__init__()
        unit = patch * 2 ** (levels - 1)
        if block_size % unit:
            raise ValueError(
                f"block size {block_size} is not a multiple of patch * 2**(levels - 1) = {unit}: "
                "change blocks.size, denoiser.patch or denoiser.levels"
            )
        if width % 8 or width % heads:
            raise ValueError(f"denoiser.width={width} must be a multiple of 8 and of denoiser.heads={heads}")
        self.patch = patch
        condition = context = 4 * width
        channels = [width] + [2 * width] * (levels - 1)
        self.time = TimeEmbedding(condition)
        self.index = nn.Embedding(blocks, condition)
        self.place = nn.Embedding(blocks, width * (block_size // patch))
        nn.init.normal_(self.place.weight, std=0.02)
        self.text = TextContext(text_dim, context)
        self.stem = nn.Conv1d(patch, width, 3, padding=1)

        def stage(inputs: int, level: int) -> Stage:
            return Stage(inputs, channels[level], condition, heads, context, attend=level == levels - 1)

        self.down = nn.ModuleList([stage(channels[i], i) for i in range(levels)])
        self.shrink = nn.ModuleList([nn.Conv1d(channels[i], channels[i + 1], 2, stride=2) for i in range(levels - 1)])
        self.middle = stage(channels[-1], levels - 1)
        self.up = nn.ModuleList([stage(2 * channels[i], i) for i in reversed(range(levels))])
        self.grow = nn.ModuleList(
            [nn.Conv1d(channels[i + 1], channels[i], 3, padding=1) for i in reversed(range(levels - 1))]
        )
        self.own = BlockBasis(channels[-1], blocks, block_size, rank) if rank else None
        self.norm = nn.GroupNorm(8, width)
        self.out = nn.Conv1d(width, patch, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # starts by predicting 0
        nn.init.zeros_(self.out.bias)

    def forward(self, x_t: Tensor, t: Tensor, index: Tensor, tokens: Tensor, text_mask: Tensor) -> Tensor:
        """x_t: (N, K, D); t: (N,); index: (N, K) long; tokens: (N, L, E); text_mask: (N, L) bool -> (N, K,
        D)."""
        concepts, blocks, size = x_t.shape
        condition = (self.time(t)[:, None] + self.index(index)).flatten(0, 1)  # (N*K, condition)
        context, mask = self.text(tokens, text_mask)
        bias = attention_bias(mask, context)

        h = x_t.reshape(concepts * blocks, size // self.patch, self.patch).transpose(1, 2)  # (N*K, patch, T)
        h = self.stem(h)
        h = h + self.place(index).reshape(h.shape)
        skips = []
        for level, down in enumerate(self.down):
            h = down(h, condition, context, bias)
            skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        h = self.middle(h, condition, context, bias)
        along = h.mean(-1).reshape(concepts, blocks, -1)  # (N, K, C)
        for level, up in enumerate(self.up):
            h = up(torch.cat([h, skips.pop()], dim=1), condition, context, bias)
            if level < len(self.grow):
                h = self.grow[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = self.out(F.silu(self.norm(h)))  # (N*K, patch, T)
        h = h.transpose(1, 2).reshape(x_t.shape)
        return h if self.own is None else h + self.own(along, index)

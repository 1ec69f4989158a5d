"""A transformer that denoises all blocks of a concept together.

The paper denoises each block alone, so a concept's blocks agree only through the prompt. Here they are one
token sequence (G.pt, arXiv 2209.12892, treats weights so), with DiT's adaLN-zero conditioning (arXiv
2212.09748, Sec. 3.2) on time and prompt.
"""

from __future__ import annotations

import torch.nn.functional as F
from diffusers.models.attention import Attention, FeedForward
from torch import Tensor, nn

from weightgen.diffusion.basis import BlockBasis
from weightgen.diffusion.conditioning import TextContext, TimeEmbedding, attention_bias


class AdaptiveLayer(nn.Module):
    """h: (N, K, W); condition: (N, W); context: (N, S, W); bias: (N, 1, S) -> (N, K, W). All gates start at
    0: the identity."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.modulate = nn.Linear(width, 6 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = Attention(width, heads=heads, dim_head=width // heads)
        self.text_norm = nn.LayerNorm(width)
        self.text_attention = Attention(width, width, heads=heads, dim_head=width // heads)
        self.feed_forward = FeedForward(width, activation_fn="gelu-approximate")
        for layer in (self.modulate, self.text_attention.to_out[0]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h: Tensor, condition: Tensor, context: Tensor, bias: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(F.silu(condition))[:, None].chunk(6, dim=-1)
        h = h + gate1 * self.self_attention(self.norm(h) * (1 + scale1) + shift1)
        h = h + self.text_attention(self.text_norm(h), encoder_hidden_states=context, attention_mask=bias)
        return h + gate2 * self.feed_forward(self.norm(h) * (1 + scale2) + shift2)


class JointTransformer(nn.Module):
    """Denoises the K blocks of a concept as one sequence.

    block_size: D; blocks: how many block indices there are; text_dim: E of the text encoder; width: a
    multiple of heads; layers; heads; rank: of each block's own output basis, 0 for the shared read-out alone;
    evidence: whether the network takes, besides x_t, one more vector a block (such as each block's gradient
    of a loss on the concept's first pairs).
    """

    def __init__(
        self,
        block_size: int,
        blocks: int,
        text_dim: int,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        rank: int = 32,
        evidence: bool = False,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"denoiser.width={width} must be a multiple of denoiser.heads={heads}")
        self.time = TimeEmbedding(width)
        self.text = TextContext(text_dim, width)
        self.index = nn.Embedding(blocks, width)
        self.read = nn.Linear(block_size, width)
        self.layers = nn.ModuleList([AdaptiveLayer(width, heads) for _ in range(layers)])
        self.modulate = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.write = nn.Linear(width, block_size)
        self.own = BlockBasis(width, blocks, block_size, rank) if rank else None
        self.read_evidence = nn.Linear(block_size, width, bias=False) if evidence else None
        # write = 0: starts by predicting 0; read_evidence = 0: starts blind to evidence
        for layer in filter(None, (self.modulate, self.write, self.read_evidence)):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self, x_t: Tensor, t: Tensor, index: Tensor, tokens: Tensor, text_mask: Tensor, evidence: Tensor | None = None
    ) -> Tensor:
        """x_t: (N, K, D); t: (N,); index: (N, K) long; tokens: (N, L, E); text_mask: (N, L) bool;
        evidence: (N, K, D) or None, which reads as zeros -> (N, K, D)."""
        context, mask = self.text(tokens, text_mask)
        bias = attention_bias(mask, context)
        seen = mask[..., None].to(context.dtype)
        condition = self.time(t) + (context * seen).sum(1) / seen.sum(1)  # (N, W): time + the mean visible token
        h = self.read(x_t) + self.index(index)  # (N, K, W)
        if evidence is not None:
            if self.read_evidence is None:
                raise ValueError("this JointTransformer was built with evidence=False and cannot read evidence")
            h = h + self.read_evidence(evidence)
        for layer in self.layers:
            h = layer(h, condition, context, bias)
        shift, scale = self.modulate(F.silu(condition))[:, None].chunk(2, dim=-1)
        h = self.norm(h) * (1 + scale) + shift
        return self.write(h) if self.own is None else self.write(h) + self.own(h, index)

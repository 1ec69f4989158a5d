"""Normalisation of blocks: statistics of train concepts only, carried as an artifact."""

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """(x - mean) / scale per weight; zero therefore stands for the zoo's mean set.

    mean: (K, D); scale: (K, D), constant within a block: its rms deviation over concepts and weights, so
    that every block matters equally and a block's quiet weights stay quiet.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)  # moves with what it is a part of
        self.register_buffer("scale", scale, persistent=False)

    @classmethod
    def fit(cls, blocks: Tensor, valid: Tensor) -> "Normalizer":
        """blocks: (N, K, D) of train concepts; valid: (K, D) bool. A block that never varies gets scale 1."""
        mean = blocks.mean(0)
        squares = ((blocks - mean).square().mean(0) * valid).sum(-1) / valid.sum(-1).clamp(min=1)
        scale = squares.sqrt()
        scale = torch.where(scale > 1e-12, scale, torch.ones_like(scale))
        return cls(mean, scale[:, None].expand_as(mean).contiguous())

    def normalize(self, blocks: Tensor) -> Tensor:
        """(..., K, D) -> (..., K, D), zero mean and unit rms per block over the train concepts."""
        return (blocks - self.mean.to(blocks)) / self.scale.to(blocks)

    def denormalize(self, blocks: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        return blocks * self.scale.to(blocks) + self.mean.to(blocks)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "scale": self.scale}

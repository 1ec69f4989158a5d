"""Averages of a network's weights over its training."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def average_into(averaged: nn.Module, current: nn.Module, share: float | Tensor) -> None:
    """averaged <- (1 - share) averaged + share current, its buffers a copy. share: in [0, 1], a tensor without dimensions
    where it must not wait for the host."""
    for weight, now in zip(averaged.parameters(), current.parameters(), strict=True):
        weight.lerp_(now, share)
    for buffer, now in zip(averaged.buffers(), current.buffers(), strict=True):
        buffer.copy_(now)

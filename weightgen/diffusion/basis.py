"""Output directions of each block's own: elements of different blocks are different parameters."""

from __future__ import annotations

from torch import Tensor, nn


class BlockBasis(nn.Module):
    """h: (N, K, W), index: (N, K) long -> (N, K, D): `rank` coefficients from h times the block's own learned
    (rank, D) basis.

    One read-out shared by all blocks has to tell K * D parameters apart by its input alone; with a basis a
    block, what is left to learn is how far to go along each direction. Starts at 0.
    """

    def __init__(self, width: int, blocks: int, block_size: int, rank: int):
        super().__init__()
        self.coefficients = nn.Linear(width, rank)
        self.basis = nn.Embedding(blocks, rank * block_size)
        nn.init.zeros_(self.basis.weight)

    def forward(self, h: Tensor, index: Tensor) -> Tensor:
        coefficients = self.coefficients(h)  # (N, K, rank)
        basis = self.basis(index).reshape(*coefficients.shape, -1)  # (N, K, rank, D)
        return (coefficients[:, :, None] @ basis)[:, :, 0]

"""One global batch, many processes: what each trains on, so that the mean of their gradients is the whole batch's.

A batch is cut into `shares` equal slices; slice i has rows i, i + shares, ... Slice (process r, part p) is number
p * world + r. Random numbers are drawn for the whole batch by every process, which then takes its rows: so noise, times
and dropout do not depend on how many processes there are.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import IterableDataset

from weightgen.batches import Batches, at_once
from weightgen.errors import WeightgenError


class Slices(IterableDataset):
    """The `parts` slices of process `rank` of every batch, in the order of training.

    A slice of a batch with "valid" also has "share", a float: what a mean over its valid elements is to be multiplied by,
    so that the mean over all slices is the mean over the whole batch's valid elements.

    Raises WeightgenError if a batch cannot be cut equally: unequal slices would weigh their rows unequally.
    """

    def __init__(self, batches: Batches, rank: int, world: int, parts: int = 1) -> None:
        self.batches, self.rank, self.world, self.parts = batches, rank, world, parts
        size, shares = _rows(batches.batch(batches.start)), world * parts
        if size % shares:
            raise WeightgenError(
                f"a batch of {size} does not divide by {shares}: strategy.ranks={world} processes times "
                f"strategy.accumulate={parts} parts each; choose numbers whose product divides {size}"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step in range(self.batches.start, self.batches.steps):
            batch = self.batches.batch(step)
            for part in range(self.parts):
                yield cut(batch, part * self.world + self.rank, self.world * self.parts)


def cut(batch: Mapping[str, Tensor], number: int, shares: int) -> dict[str, Any]:
    """Slice `number` of `shares` of a batch; the batch itself where it is the only one."""
    if shares == 1:
        return dict(batch)
    part: dict[str, Any] = {name: value[number::shares] for name, value in batch.items()}
    if "valid" in batch:
        part["share"] = shares * part["valid"].sum().item() / max(batch["valid"].sum().item(), 1)
    return part


def own_rows(rows: int, trainer: pl.Trainer | None, batch_index: int) -> tuple[int, slice]:
    """How many rows the whole batch has whose slice of `rows` rows this process trains on now, and which of them they are.
    Without a trainer they are all."""
    if trainer is None:
        return rows, slice(None)
    parts = trainer.accumulate_grad_batches
    shares = trainer.world_size * parts
    return rows * shares, slice(batch_index % parts * trainer.world_size + trainer.global_rank, None, shares)


def _rows(batch: Mapping[str, Tensor]) -> int:
    return len(next(iter(batch.values())))


def spread(make: Callable[[Tensor], Tensor], images: Tensor, batch_size: int | None = None) -> Tensor:
    """make(images), the processes of the group taking turns at batches of them; all of them get all, in order.

    images: (N, 3, H, W) -> uint8 (N, 3, H, W), on the CPU. So scores are of all images at once, never a mean of scores. The
    batches are by default those of one process (`translate`), for their size rounds convolutions: the images are the same.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return make(images)
    world, rank = dist.get_world_size(), dist.get_rank()
    batches = images.split(batch_size or at_once(images, images.device))
    made: list[list[Tensor]] = [[]] * world
    dist.all_gather_object(made, [make(batch) for batch in batches[rank::world]])
    return torch.cat([made[i % world][i // world] for i in range(len(batches))])

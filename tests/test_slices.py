"""Slices of a batch: together they are the batch, and the mean of their losses is its loss."""

from types import SimpleNamespace

import pytest
import torch

from weightgen.diffusion.training import masked_mse
from weightgen.errors import WeightgenError
from weightgen.slices import Slices, cut, own_rows, spread


class Counted:
    """Batch s of six rows: 10 s + 0 .. 5, of which the first s + 1 and the last are valid."""

    def __init__(self, steps: int = 3, start: int = 0) -> None:
        self.steps, self.start = steps, start

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        valid = torch.arange(6) <= step
        valid[-1] = True
        return {"x": 10 * step + torch.arange(6.0), "valid": valid}


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (1, 3), (3, 2)])
def test_every_row_of_every_batch_is_trained_once(world: int, parts: int) -> None:
    slices = [list(Slices(Counted(start=1), rank, world, parts)) for rank in range(world)]
    assert {len(own) for own in slices} == {2 * parts}
    for i, step in enumerate((1, 2)):
        rows = [part["x"] for own in slices for part in own[i * parts : (i + 1) * parts]]
        assert sorted(torch.cat(rows).tolist()) == (10 * step + torch.arange(6)).tolist()


@pytest.mark.parametrize("shares", [1, 2, 3, 6])
def test_the_mean_of_the_slices_losses_is_the_loss_of_the_batch(shares: int) -> None:
    batch = Counted().batch(1)  # rows 10, 11 and 15 are valid
    slices = [cut(batch, i, shares) for i in range(shares)]
    losses = [masked_mse(s["x"], torch.zeros(()), s["valid"]) * s.get("share", 1.0) for s in slices]
    torch.testing.assert_close(torch.stack(losses).mean(), torch.tensor((100.0 + 121 + 225) / 3))


def test_a_batch_that_does_not_divide_is_named_with_both_numbers() -> None:
    with pytest.raises(WeightgenError, match=r"a batch of 6 does not divide by 4: strategy\.ranks=2 .*accumulate=2"):
        Slices(Counted(), 0, 2, parts=2)


@pytest.mark.parametrize(("world", "parts"), [(1, 1), (2, 1), (2, 3)])
def test_what_is_drawn_for_the_batch_goes_with_its_rows(world: int, parts: int) -> None:
    """Draw r goes with row r, whichever slice that is in."""
    for rank in range(world):
        trainer = SimpleNamespace(world_size=world, global_rank=rank, accumulate_grad_batches=parts)
        for index, own in enumerate(Slices(Counted(), rank, world, parts)):
            rows, mine = own_rows(len(own["x"]), trainer, index)
            assert rows == 6
            assert torch.equal(torch.arange(6.0)[mine], own["x"] % 10)


def test_alone_all_images_are_made_at_once() -> None:
    seen = []
    images = torch.arange(5 * 3, dtype=torch.uint8).reshape(5, 3, 1, 1)
    assert torch.equal(spread(lambda own: seen.append(len(own)) or own + 1, images), images + 1)
    assert seen == [5]

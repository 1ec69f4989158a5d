"""A fleet's batch is what each concept draws alone; only the fleet's pairs are in memory."""

import pytest
import torch

from weightgen.batches import Pairs, Texts, pair_batches
from weightgen.translation.fleet.batches import FleetBatches

COUNTS = (3, 5, 1)
# photo p of concept c is of value 10 c + p, its target of value 100 + that
SOURCES = [
    (10 * c + torch.arange(n)).to(torch.uint8)[:, None, None, None].expand(n, 3, 2, 2) for c, n in enumerate(COUNTS)
]
TARGETS = [images + 100 for images in SOURCES]
TEXTS = Texts(torch.arange(4.0)[:, None, None].expand(4, 2, 6), torch.ones(4, 2, dtype=torch.bool), [[0], [1, 2], [3]])


@pytest.mark.parametrize("step", [0, 3, 7])
@pytest.mark.parametrize("shared", [False, True])
def test_a_fleet_draws_what_each_concept_draws_alone(step, shared):
    sources = [SOURCES[1]] * 3 if shared else SOURCES
    targets = [images + 100 for images in sources]
    fleet = FleetBatches(sources[0] if shared else sources, targets, TEXTS, size=4, seed=2)
    together = fleet.batch([2, 0, 1], [step, step + 1, step])
    for row, (c, at) in enumerate([(2, step), (0, step + 1), (1, step)]):
        texts = Texts(TEXTS.tokens[TEXTS.rows[c]], TEXTS.mask[TEXTS.rows[c]], [range(len(TEXTS.rows[c]))])
        alone = pair_batches(Pairs(sources[c], [targets[c]]), texts, 4, seed=2).batch(at)
        for name, values in alone.items():
            assert torch.equal(together[name][4 * row : 4 * row + 4], values), name
    assert together["source"].dtype == torch.uint8


def test_only_the_fleets_targets_are_in_memory():
    class Lazy:
        def __getitem__(self, concept: int) -> torch.Tensor:
            fetched.append(concept)
            return TARGETS[concept]

    fetched: list[int] = []
    batches = FleetBatches(SOURCES, Lazy(), TEXTS, 2)
    for step in range(3):
        batches.batch([0, 1], [step, step])
    batches.batch([2, 1], [0, 3])
    assert fetched == [0, 1, 2]
    assert set(batches._resident) == {1, 2}

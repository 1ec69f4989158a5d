"""Concepts with photos of their own, more of some than of others: every batch pairs a photo with its own target."""

from collections import Counter
from itertools import islice

import pytest
import torch

from weightgen.data.fleet_batches import FleetBatches
from weightgen.data.pairs import PairBatches
from weightgen.generation.through_base import FunctionBatches

COUNTS = (3, 5, 1)
# photo p of concept c is of value 10 c + p, its target of value 100 + that
SOURCES = [
    (10 * c + torch.arange(n)).to(torch.uint8)[:, None, None, None].expand(n, 3, 2, 2) for c, n in enumerate(COUNTS)
]
TARGETS = [images + 100 for images in SOURCES]
PROMPTS = [[0], [1, 2], [3]]
TOKENS = torch.arange(4.0)[:, None, None].expand(4, 2, 6)
TEXT_MASK = torch.ones(4, 2, dtype=torch.bool)
TEXT_CONCEPT = {0: 0, 1: 1, 2: 1, 3: 2}


def value(images: torch.Tensor) -> list[int]:
    return images[..., 0, 0, 0].flatten().tolist()


def test_each_epoch_visits_each_concepts_own_pairs_once():
    batches = PairBatches(SOURCES, TARGETS, TOKENS, TEXT_MASK, PROMPTS, batch_size=4)
    seen = []
    for batch in islice(batches, 9):  # 36 pairs: 4 epochs
        assert value(batch["target"]) == [v + 100 for v in value(batch["source"])]
        texts = batch["tokens"][:, 0, 0].int().tolist()
        assert [TEXT_CONCEPT[t] for t in texts] == [v // 10 for v in value(batch["source"])]
        seen += value(batch["source"])
    every = Counter(v for images in SOURCES for v in value(images))
    assert all(Counter(seen[start : start + 9]) == every for start in range(0, 36, 9))


@pytest.mark.parametrize("step", [0, 3, 7])
def test_a_fleet_draws_what_each_concept_draws_alone(step):
    fleet = FleetBatches(SOURCES, TARGETS, TOKENS, TEXT_MASK, PROMPTS, batch_size=4, seeds=2)
    together = fleet.batch([0, 1, 2], [step, step + 1, step])
    for c, (own, at) in enumerate(zip(SOURCES, (step, step + 1, step), strict=True)):
        rows = [TOKENS[PROMPTS[c]], TEXT_MASK[PROMPTS[c]], [range(len(PROMPTS[c]))]]
        alone = PairBatches(own, [TARGETS[c]], *rows, 4, seed=2).batch(at)
        for name, values in alone.items():
            assert torch.equal(together[name][4 * c : 4 * c + 4], values), name


def test_function_batches_pair_photos_of_unequal_sets_and_favour_none():
    own = torch.arange(3.0)[:, None, None].expand(3, 2, 2)
    options = {"concepts": 3, "photos": 30, "steps": 100}
    batches = FunctionBatches(SOURCES, TARGETS, own, TOKENS, TEXT_MASK, PROMPTS, **options)
    counts: Counter[int] = Counter()
    for batch in batches:
        assert value(batch["target"]) == [v + 100 for v in value(batch["source"])]
        concepts = batch["own"][:, 0, 0].int().tolist()
        assert [v // 10 for v in value(batch["source"][:, 0])] == concepts
        counts.update(value(batch["source"]))
    for c, n in enumerate(COUNTS):
        for p in range(n):
            assert abs(counts[10 * c + p] - 3000 / n) < 5 * (3000 / n) ** 0.5 + 1  # 5 deviations


@pytest.mark.parametrize("kind", [PairBatches, FunctionBatches])
def test_the_same_photos_given_once_or_for_each_concept_make_the_same_batches(kind):
    shared = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 3, 2, 2)
    targets = [shared + 10, shared + 20, shared + 30]
    text = [TOKENS, TEXT_MASK, PROMPTS]
    if kind is FunctionBatches:
        text = [torch.zeros(3, 2, 2), *text, 2, 4]
    else:
        text = [*text, 4]
    once, each = kind(shared, targets, *text, seed=3), kind([shared] * 3, targets, *text, seed=3)
    for step in range(6):
        a, b = once.batch(step), each.batch(step)
        assert all(torch.equal(a[name], b[name]) for name in a)

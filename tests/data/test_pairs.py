"""Each epoch visits each pair once; a batch is a function of (seed, step)."""

from collections import Counter
from itertools import islice

import pytest
import torch

from weightgen.data.pairs import PairBatches

PHOTOS, CONCEPTS = 5, 3
SOURCES = torch.arange(PHOTOS, dtype=torch.uint8)[:, None, None, None].expand(PHOTOS, 3, 2, 2)
TARGETS = [SOURCES + 10 * (concept + 1) for concept in range(CONCEPTS)]  # 10 (c + 1) + photo says which pair
PROMPTS = [[0], [1, 2], [3]]
TOKENS = torch.arange(4.0)[:, None, None].expand(4, 2, 6)
TEXT_MASK = torch.tensor([[True, row % 2 == 0] for row in range(4)])


def batches(batch_size: int = 4, **options) -> PairBatches:
    return PairBatches(SOURCES, TARGETS, TOKENS, TEXT_MASK, PROMPTS, batch_size, **options)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def pairs(batch: dict) -> list[tuple[int, int]]:
    """(concept, photo) of each row, by its target."""
    return [divmod(int(value) - 10, 10) for value in batch["target"][:, 0, 0, 0]]


@pytest.mark.parametrize("batch_size", [1, 4, 15, 40])
def test_each_epoch_visits_each_pair_once(batch_size):
    every = {(concept, photo) for concept in range(CONCEPTS) for photo in range(PHOTOS)}
    stream = [pair for batch in islice(batches(batch_size), 60 // batch_size + 1) for pair in pairs(batch)]
    epochs = [stream[start : start + 15] for start in range(0, 60, 15)]
    assert all(Counter(epoch) == Counter(every) for epoch in epochs)
    assert epochs[0] != epochs[1]  # each in another order


def test_rows_of_a_batch_belong_together_and_paraphrases_take_turns():
    seen = set()
    for batch in islice(batches(), 50):
        assert batch["source"].dtype == batch["target"].dtype == torch.uint8
        assert batch["source"].shape == (4, 3, 2, 2)
        for row, (concept, photo) in enumerate(pairs(batch)):
            assert torch.equal(batch["source"][row], SOURCES[photo])
            text = int(batch["tokens"][row, 0, 0])
            assert text in PROMPTS[concept]
            assert torch.equal(batch["text_mask"][row], TEXT_MASK[text])
            seen.add(text)
    assert seen == {0, 1, 2, 3}


def test_a_batch_is_a_function_of_seed_and_step_whatever_came_before():
    fresh, used = batches(seed=1), batches(seed=1)
    for step in (9, 0, 30):
        used.batch(step)
    assert same(fresh.batch(3), used.batch(3))  # 3 spans two epochs
    assert not same(batches(seed=1).batch(3), batches(seed=2).batch(3))
    state = torch.random.get_rng_state()
    batches().batch(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_resuming_equals_never_stopping():
    whole, rest = list(batches(steps=9)), list(batches(steps=9, start=5))
    assert len(whole) == 9
    assert len(rest) == 4
    assert all(same(a, b) for a, b in zip(whole[5:], rest, strict=True))

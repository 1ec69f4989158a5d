"""Each epoch visits each pair once; a batch is a function of (seed, step); every photo goes with its own edit."""

from collections import Counter
from itertools import islice

import pytest
import torch

from weightgen.batches import Batches, PairBatches, Pairs, Texts, at_once, concept_batches
from weightgen.errors import WeightgenError

PHOTOS, CONCEPTS = 5, 3
SOURCES = torch.arange(PHOTOS, dtype=torch.uint8)[:, None, None, None].expand(PHOTOS, 3, 2, 2)
TARGETS = [SOURCES + 10 * (concept + 1) for concept in range(CONCEPTS)]  # 10 (c + 1) + photo says which pair
PROMPTS = [[0], [1, 2], [3]]
TOKENS = torch.arange(4.0)[:, None, None].expand(4, 2, 6)
TEXT_MASK = torch.tensor([[True, row % 2 == 0] for row in range(4)])


TEXTS = Texts(TOKENS, TEXT_MASK, PROMPTS)

# photos of their own, more of some than of others: photo p of concept c is of value 10 c + p, its target of 100 + that
COUNTS = (3, 5, 1)
OWN_SOURCES = [
    (10 * c + torch.arange(n)).to(torch.uint8)[:, None, None, None].expand(n, 3, 2, 2) for c, n in enumerate(COUNTS)
]
OWN_PAIRS = Pairs(OWN_SOURCES, [images + 100 for images in OWN_SOURCES])
TEXT_CONCEPT = {0: 0, 1: 1, 2: 1, 3: 2}


def batches(batch_size: int = 4, start: int = 0, **options) -> Batches:
    drawn = PairBatches(Pairs(SOURCES, TARGETS), TEXTS, batch_size, **options)
    drawn.start = start
    return drawn


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


def value(images: torch.Tensor) -> list[int]:
    return images[..., 0, 0, 0].flatten().tolist()


def test_each_epoch_visits_each_concepts_own_pairs_once():
    seen = []
    for batch in islice(PairBatches(OWN_PAIRS, TEXTS, 4), 9):  # 36 pairs: 4 epochs
        assert value(batch["target"]) == [v + 100 for v in value(batch["source"])]
        texts = batch["tokens"][:, 0, 0].int().tolist()
        assert [TEXT_CONCEPT[t] for t in texts] == [v // 10 for v in value(batch["source"])]
        seen += value(batch["source"])
    every = Counter(v for images in OWN_SOURCES for v in value(images))
    assert all(Counter(seen[start : start + 9]) == every for start in range(0, 36, 9))


def test_batches_of_concepts_pair_photos_of_unequal_sets_and_favour_none():
    own = torch.arange(3.0)[:, None, None].expand(3, 2, 2)
    counts: Counter[int] = Counter()
    for batch in concept_batches(OWN_PAIRS, TEXTS, own, concepts=3, photos=1, steps=300):
        assert value(batch["target"]) == [v + 100 for v in value(batch["source"])]
        concepts = batch["own"][:, 0, 0].int().tolist()
        assert [v // 10 for v in value(batch["source"][:, 0])] == concepts
        counts.update(value(batch["source"]))
    for c, n in enumerate(COUNTS):
        for p in range(n):
            assert abs(counts[10 * c + p] - 300 / n) < 5 * (300 / n) ** 0.5 + 1  # 5 deviations


def test_no_pair_of_a_concept_is_twice_in_a_batch():
    """So pairs that guide a refiner and pairs that judge it never overlap."""
    pairs = Pairs(SOURCES, TARGETS)
    for batch in concept_batches(pairs, TEXTS, torch.zeros(3, 2, 2), concepts=2, photos=PHOTOS, steps=20):
        for row in batch["source"]:
            assert sorted(value(row)) == list(range(PHOTOS))
    with pytest.raises(WeightgenError, match=r"6 pairs of each concept, and one has 5: raise photos\.train"):
        concept_batches(pairs, TEXTS, torch.zeros(3, 2, 2), concepts=2, photos=PHOTOS + 1)


@pytest.mark.parametrize("kind", ["pairs", "concepts"])
def test_the_same_photos_given_once_or_for_each_concept_make_the_same_batches(kind):
    def make(sources) -> Batches:
        pairs = Pairs(sources, TARGETS)
        if kind == "pairs":
            return PairBatches(pairs, TEXTS, 4, seed=3)
        return concept_batches(pairs, TEXTS, torch.zeros(3, 2, 2), 2, 4, seed=3)

    once, each = make(SOURCES), make([SOURCES] * 3)
    for step in range(6):
        assert same(once.batch(step), each.batch(step))


@pytest.mark.parametrize(
    ("device", "side", "count"), [("cpu", 64, 32), ("cpu", 128, 8), ("cpu", 1024, 1), ("cuda", 256, 64)]
)
def test_a_net_gets_as_many_pictures_at_once_as_its_device_is_fast_with(device: str, side: int, count: int) -> None:
    assert at_once(torch.zeros(1, 3, side, 1).expand(1, 3, side, side), torch.device(device)) == count

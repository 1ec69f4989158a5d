"""A batch is a function of (seed, step); every row belongs together."""

from itertools import islice

import pytest
import torch

from weightgen.weights import ZooBatches

N, K, D = 5, 4, 3
# set n, block k holds 100 n + 10 k + (0, 1, 2), so that every value says where it is from
BLOCKS = 100.0 * torch.arange(N)[:, None, None] + 10 * torch.arange(K)[:, None] + torch.arange(D)
VALID = torch.arange(K)[:, None] * torch.ones(D) < 3  # block 3 is all padding
PROMPTS = [[0], [1, 2], [3, 4, 5], [6], [7]]
TOKENS = torch.arange(8.0)[:, None, None].expand(8, 2, 6)
TEXT_MASK = torch.tensor([[True, row % 2 == 0] for row in range(8)])


def batches(concepts: int = 3, **options) -> ZooBatches:
    return ZooBatches(BLOCKS, VALID, TOKENS, TEXT_MASK, PROMPTS, concepts, **options)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("blocks_per_concept", [0, 2, K, K + 1])
def test_rows_of_a_batch_belong_together(blocks_per_concept):
    k = 2 if blocks_per_concept == 2 else K
    for batch in islice(batches(blocks_per_concept=blocks_per_concept), 20):
        assert batch["blocks"].shape == (3, k, D)
        value = 100 * batch["concept"][:, None] + 10 * batch["index"]
        assert torch.equal(batch["blocks"][..., 0], value.float())
        assert torch.equal(batch["valid"], VALID[batch["index"]])
        assert len(set(batch["concept"].tolist())) == 3  # without replacement
        for i, concept in enumerate(batch["concept"].tolist()):
            row, index = int(batch["tokens"][i, 0, 0]), batch["index"][i].tolist()
            assert row in PROMPTS[concept]
            assert torch.equal(batch["tokens"][i], TOKENS[row])
            assert torch.equal(batch["text_mask"][i], TEXT_MASK[row])
            assert len(set(index)) == k  # no block twice
            assert k < K or index == list(range(K))


def test_every_concept_paraphrase_and_block_is_drawn():
    seen = list(islice(batches(blocks_per_concept=1), 200))
    assert {c for batch in seen for c in batch["concept"].tolist()} == set(range(N))
    assert {int(t) for batch in seen for t in batch["tokens"][:, 0, 0]} == set(range(8))
    counts = torch.cat([batch["index"].flatten() for batch in seen]).bincount(minlength=K)
    assert bool((counts > 100).all())  # 600 draws, 150 expected: 5 standard deviations


def test_more_concepts_than_the_zoo_has_are_drawn_with_replacement():
    assert batches(concepts=12).batch(0)["blocks"].shape == (12, K, D)


def test_a_batch_is_a_function_of_seed_and_step():
    assert same(batches(seed=1).batch(7), batches(seed=1).batch(7))
    assert not same(batches(seed=1).batch(7), batches(seed=1).batch(8))
    assert not same(batches(seed=1).batch(7), batches(seed=2).batch(7))
    state = torch.random.get_rng_state()
    batches().batch(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_resuming_equals_never_stopping():
    whole = list(batches(steps=6, blocks_per_concept=2))
    rest = list(batches(steps=6, start=4, blocks_per_concept=2))
    assert len(whole) == 6
    assert len(rest) == 2
    assert all(same(a, b) for a, b in zip(whole[4:], rest, strict=True))

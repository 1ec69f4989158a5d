"""A batch is a function of (seed, step); every row belongs together."""

from itertools import islice

import torch

from weightgen.batches import Batches, Texts
from weightgen.weights.batches import block_batches, set_batches

N, K, D = 5, 4, 3
# set n, block k holds 100 n + 10 k + (0, 1, 2), so that every value says where it is from
BLOCKS = 100.0 * torch.arange(N)[:, None, None] + 10 * torch.arange(K)[:, None] + torch.arange(D)
VALID = torch.arange(K)[:, None] * torch.ones(D) < 3  # block 3 is all padding
PROMPTS = [[0], [1, 2], [3, 4, 5], [6], [7]]
TOKENS = torch.arange(8.0)[:, None, None].expand(8, 2, 6)
TEXT_MASK = torch.tensor([[True, row % 2 == 0] for row in range(8)])


def batches(concepts: int = 3, start: int = 0, **options) -> Batches:
    drawn = set_batches(BLOCKS, VALID, Texts(TOKENS, TEXT_MASK, PROMPTS), concepts, **options)
    drawn.start = start
    return drawn


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_rows_of_a_batch_belong_together():
    for batch in islice(batches(), 20):
        assert batch["blocks"].shape == batch["valid"].shape == (3, K, D)
        drawn = [int(first) // 100 for first in batch["blocks"][:, 0, 0]]
        assert torch.equal(batch["blocks"], BLOCKS[drawn])
        assert all(torch.equal(valid, VALID) for valid in batch["valid"])
        assert batch["index"].tolist() == [list(range(K))] * 3
        assert len(set(drawn)) == 3  # without replacement
        for i, concept in enumerate(drawn):
            row = int(batch["tokens"][i, 0, 0])
            assert row in PROMPTS[concept]
            assert torch.equal(batch["tokens"][i], TOKENS[row])
            assert torch.equal(batch["text_mask"][i], TEXT_MASK[row])


def test_every_concept_and_paraphrase_is_drawn():
    seen = list(islice(batches(), 200))
    assert {int(first) // 100 for batch in seen for first in batch["blocks"][:, 0, 0]} == set(range(N))
    assert {int(t) for batch in seen for t in batch["tokens"][:, 0, 0]} == set(range(8))


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
    whole = list(batches(steps=6))
    rest = list(batches(steps=6, start=4))
    assert len(whole) == 6
    assert len(rest) == 2
    assert all(same(a, b) for a, b in zip(whole[4:], rest, strict=True))


def test_single_blocks_of_any_sets_belong_together():
    drawn = block_batches(BLOCKS, VALID, drawn_texts(), 64, seed=1)
    seen = set()
    for batch in islice(drawn, 10):
        assert batch["blocks"].shape == batch["valid"].shape == (64, 1, D)
        assert batch["index"].shape == (64, 1)
        for block, valid, index, tokens in zip(
            batch["blocks"][:, 0], batch["valid"][:, 0], batch["index"][:, 0], batch["tokens"], strict=True
        ):
            concept, number = int(block[0]) // 100, int(block[0]) % 100 // 10
            assert torch.equal(block, BLOCKS[concept, number])
            assert int(index) == number
            assert torch.equal(valid, VALID[number])
            assert int(tokens[0, 0]) in PROMPTS[concept]
            seen.add((concept, number))
    assert len(seen) == N * K  # each block of each set comes
    assert same(drawn.batch(3), block_batches(BLOCKS, VALID, drawn_texts(), 64, seed=1).batch(3))


def drawn_texts() -> Texts:
    return Texts(TOKENS, TEXT_MASK, PROMPTS)

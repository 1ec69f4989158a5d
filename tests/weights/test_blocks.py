"""Blocks and states are one thing in two shapes: exact in both directions, for every rule and size."""

import json

import pytest
import torch

from weightgen.errors import WeightgenError
from weightgen.translation.lora import LoraSpec, inject_lora, lora_state
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.weights.blocks import BlockLayout

RULES = (1, 2, 3)
TINY = {"a.A": (2, 3), "a.B": (1, 2), "b.A": (2, 2), "c.A": (2, 3), "c.B": (1, 2)}  # 8, 4, 8 weights


def tiny_state() -> dict[str, torch.Tensor]:
    """The weights 1, 2, ..., 20 in the order of TINY."""
    numbers = torch.arange(1.0, 21.0)
    sizes = [torch.Size(shape).numel() for shape in TINY.values()]
    return {n: p.reshape(TINY[n]) for n, p in zip(TINY, numbers.split(sizes), strict=True)}


@pytest.fixture(scope="module", params=["ab", "b"])
def lora(request) -> dict[str, torch.Tensor]:
    generator = E2GANGenerator(text_dim=8, width=8, resnet_blocks=1)
    state = lora_state(inject_lora(generator, LoraSpec(train=request.param)))
    noise = torch.Generator().manual_seed(0)
    return {name: torch.randn(weight.shape, generator=noise) for name, weight in state.items()}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [128, 256, 512])
def test_round_trip_of_a_real_lora_is_bit_exact(lora, size, rule):
    layout = BlockLayout({name: tuple(weight.shape) for name, weight in lora.items()}, size, rule)
    blocks = layout.to_blocks(lora)
    assert blocks.shape == (layout.blocks, size)
    back = layout.from_blocks(blocks)
    assert list(back) == list(lora)
    assert all(torch.equal(back[name], lora[name]) for name in lora)

    batch = {name: torch.stack([weight, -weight, weight * 3]) for name, weight in lora.items()}
    batched = layout.to_blocks(batch)
    assert batched.shape == (3, layout.blocks, size)
    assert torch.equal(batched[0], blocks)
    back = layout.from_blocks(batched)
    assert all(torch.equal(back[name], batch[name]) for name in lora)
    assert torch.equal(layout.to_blocks(back), batched)  # the other direction, padding zero again


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1, 7, 128, 100_000])
def test_mask_and_index_count_every_weight_once(lora, size, rule):
    layout = BlockLayout({name: tuple(weight.shape) for name, weight in lora.items()}, size, rule)
    if size == 1:
        assert bool(layout.valid().all())
    total = sum(weight.numel() for weight in lora.values())
    assert layout.weights == total
    assert layout.valid().shape == (layout.blocks, size)
    assert layout.valid().dtype == torch.bool
    assert int(layout.valid().sum()) == total


def test_rule_1_by_hand_never_mixes_layers():
    layout = BlockLayout(TINY, size=5, rule=1)
    assert layout.to_blocks(tiny_state()).tolist() == [
        [1, 2, 3, 4, 5],
        [6, 7, 8, 0, 0],
        [9, 10, 11, 12, 0],
        [13, 14, 15, 16, 17],
        [18, 19, 20, 0, 0],
    ]
    assert layout.valid().sum(1).tolist() == [5, 3, 4, 5, 3]


def test_rule_2_by_hand_packs_layers_of_one_kind():
    layout = BlockLayout(TINY, size=6, rule=2)
    assert layout.to_blocks(tiny_state()).tolist() == [
        [1, 2, 3, 4, 5, 6],
        [7, 8, 13, 14, 15, 16],  # the end of a, the start of c
        [17, 18, 19, 20, 0, 0],
        [9, 10, 11, 12, 0, 0],
    ]


def test_rule_3_by_hand_is_one_row_cut_anywhere():
    layout = BlockLayout(TINY, size=9, rule=3)
    row = [*range(1, 21), *[0] * 7]
    assert layout.to_blocks(tiny_state()).flatten().tolist() == row


def test_names_shapes_and_settings_that_do_not_fit_are_named():
    layout = BlockLayout(TINY, size=5)
    state = tiny_state()
    with pytest.raises(WeightgenError, match=r"'d.A'.*make blocks"):
        layout.to_blocks({**state, "d.A": torch.zeros(1)})
    with pytest.raises(WeightgenError, match=r"'a.B'"):
        layout.to_blocks({name: weight for name, weight in state.items() if name != "a.B"})
    with pytest.raises(WeightgenError, match=r"'b.A' has shape \(2, 3\), the layout wants \(2, 2\)"):
        layout.to_blocks({**state, "b.A": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match=r"\(4, 5\), the layout wants \(..., 5, 5\)"):
        layout.from_blocks(torch.zeros(4, 5))
    with pytest.raises(WeightgenError, match=r"blocks.rule=4"):
        BlockLayout(TINY, rule=4)
    with pytest.raises(WeightgenError, match=r"positive blocks.size"):
        BlockLayout(TINY, size=0)
    with pytest.raises(WeightgenError, match="at least one weight"):
        BlockLayout({})


@pytest.mark.parametrize("rule", RULES)
def test_gradients_reach_every_weight_and_no_padding(rule):
    layout = BlockLayout(TINY, size=5, rule=rule)
    blocks = torch.ones(2, layout.blocks, 5, requires_grad=True)
    sum((i + 1) * w.sum() for i, w in enumerate(layout.from_blocks(blocks).values())).backward()
    weight = {name: torch.full(shape, i + 1.0) for i, (name, shape) in enumerate(TINY.items())}
    assert torch.equal(blocks.grad, layout.to_blocks(weight).expand(2, -1, -1))

    state = {name: torch.ones(shape, requires_grad=True) for name, shape in TINY.items()}
    layout.to_blocks(state).square().sum().backward()
    assert all(torch.equal(w.grad, torch.full_like(w, 2.0)) for w in state.values())


def test_json_round_trip_and_hash_say_which_layouts_mix():
    layout = BlockLayout(TINY, size=5, rule=2)
    again = BlockLayout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert again.hash() == layout.hash()
    assert torch.equal(again.to_blocks(tiny_state()), layout.to_blocks(tiny_state()))
    others = [BlockLayout(TINY, 6, 2), BlockLayout(TINY, 5, 1), BlockLayout({**TINY, "b.A": (4, 1)}, 5, 2)]
    others.append(BlockLayout(dict(reversed(TINY.items())), 5, 2))  # another order is another layout
    assert len({layout.hash(), *(other.hash() for other in others)}) == 5

"""Adapters start as the base, train what they should, and travel exactly."""

from collections import Counter

import pytest
import torch
from torch import nn

from weightgen.errors import WeightgenError
from weightgen.translation.lora import (
    ADAPTER,
    LoraSpec,
    inject_lora,
    load_lora_state,
    lora_modules,
    lora_parameters,
    lora_state,
    merge_lora,
)
from weightgen.translation.nets.e2gan import E2GANGenerator

RANKS = {"down": 2, "transformer": 4, "up": 3, "out": 1}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
PROMPT = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(1)), torch.ones(2, 4, dtype=torch.bool)


def base(width: int = 8, **options) -> E2GANGenerator:
    torch.manual_seed(0)
    return E2GANGenerator(text_dim=6, width=width, resnet_blocks=1, **options).eval()


def random_state(model: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)
    return {n: 0.1 * torch.randn(w.shape, generator=noise) for n, w in lora_state(model).items()}


@torch.no_grad()
@pytest.mark.parametrize("train", ["ab", "b"])
def test_starts_exactly_as_the_base_and_leaves_the_base_alone(train):
    net = base()
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    model = inject_lora(net, LoraSpec(RANKS, train=train))
    assert torch.equal(model(IMAGES, *PROMPT), net(IMAGES, *PROMPT))
    load_lora_state(model, random_state(model))
    assert not torch.allclose(model(IMAGES, *PROMPT), net(IMAGES, *PROMPT), atol=1e-3)
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())


def test_every_layer_of_the_map_gets_its_kinds_rank_and_no_other():
    net = base(downs=2)
    expected = {name: RANKS[kind] for kind, names in net.lora_layers().items() for name in names}
    layers = lora_modules(inject_lora(net, LoraSpec(RANKS, alpha=6.0)))
    assert {name: layer.r[ADAPTER] for name, layer in layers.items()} == expected
    assert all(layer.scaling[ADAPTER] == 6.0 / layer.r[ADAPTER] for layer in layers.values())


@pytest.mark.parametrize("left", ["down", "transformer", "up", "out"])
def test_rank_0_or_no_rank_leaves_a_kind_without_adapter(left):
    net = base()
    for ranks in ({**RANKS, left: 0}, {kind: r for kind, r in RANKS.items() if kind != left}):
        adapted = set(lora_modules(inject_lora(net, LoraSpec(ranks))))
        expected = {n for kind, names in net.lora_layers().items() if kind != left for n in names}
        assert adapted == expected


def test_factor_shapes_and_what_trains():
    model = inject_lora(base(), LoraSpec(RANKS))
    shapes = {name: tuple(weight.shape) for name, weight in lora_parameters(model).items()}
    assert shapes["down.0.conv.A"] == (2, 8, 3, 3)
    assert shapes["down.0.conv.B"] == (16, 2, 1, 1)
    assert shapes["head.A"] == (1, 8, 3, 3)
    assert shapes["head.B"] == (3, 1, 1, 1)
    assert shapes["transformer.0.block.attn2.to_k.A"] == (4, 6)
    assert shapes["transformer.0.block.attn2.to_k.B"] == (32, 4)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == sum(
        weight.numel() for weight in lora_state(model).values()
    )


def test_train_b_freezes_a():
    model = inject_lora(base(), LoraSpec(RANKS, train="b"))
    assert Counter(name.rpartition(".")[2] for name in lora_state(model)).keys() == {"B"}
    frozen = {n: layer.lora_A[ADAPTER].weight.clone() for n, layer in lora_modules(model).items()}
    load_lora_state(model, random_state(model))  # at B = 0 no gradient would reach A anyway
    model(IMAGES, *PROMPT).square().sum().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1).step()
    for name, layer in lora_modules(model).items():
        assert layer.lora_A[ADAPTER].weight.grad is None
        assert torch.equal(layer.lora_A[ADAPTER].weight, frozen[name])
        assert bool(layer.lora_B[ADAPTER].weight.grad.any())
        assert layer.get_base_layer().weight.grad is None


def test_one_seed_one_a_whatever_was_drawn_before():
    net = base()
    first = lora_state(inject_lora(net, LoraSpec(RANKS, seed=3)))
    torch.rand(7)
    state = torch.random.get_rng_state()
    second = lora_state(inject_lora(net, LoraSpec(RANKS, seed=3)))
    assert torch.equal(torch.random.get_rng_state(), state)
    other = lora_state(inject_lora(net, LoraSpec(RANKS, seed=4)))
    for name, weight in first.items():
        assert torch.equal(weight, second[name])
        if name.endswith(".A"):
            assert not torch.equal(weight, other[name])
        else:
            assert not weight.any()


@torch.no_grad()
@pytest.mark.parametrize("train", ["ab", "b"])
def test_a_state_that_travels_gives_the_same_translator(train):
    net, spec = base(), LoraSpec(RANKS, train=train)
    model = inject_lora(net, spec)
    state = random_state(model)
    assert load_lora_state(model, state) is model
    taken = lora_state(model)
    assert list(taken) == list(state)
    assert all(torch.equal(taken[name], state[name]) for name in state)
    again = load_lora_state(inject_lora(net, spec), taken)
    assert torch.equal(again(IMAGES, *PROMPT), model(IMAGES, *PROMPT))
    next(iter(taken.values())).zero_()  # a copy: the model keeps its own
    assert not torch.equal(lora_state(model)[next(iter(taken))], next(iter(taken.values())))


def test_a_state_of_another_base_or_config_is_refused():
    state = lora_state(inject_lora(base(), LoraSpec(RANKS)))
    with pytest.raises(WeightgenError, match=r"another base or lora config.*'down.1.conv.A'"):
        load_lora_state(inject_lora(base(downs=2), LoraSpec(RANKS)), state)
    with pytest.raises(WeightgenError, match=r"'down.0.conv.A' is \(2, 8, 3, 3\), the model wants \(2, 16, 3, 3\)"):
        load_lora_state(inject_lora(base(width=16), LoraSpec(RANKS)), state)
    with pytest.raises(WeightgenError, match="does not match"):
        load_lora_state(inject_lora(base(), LoraSpec(RANKS, train="b")), state)


def test_a_refused_state_changes_nothing():
    model = inject_lora(base(), LoraSpec(RANKS))
    state = random_state(model)
    last = list(state)[-1]
    before = lora_state(model)
    with pytest.raises(WeightgenError):
        load_lora_state(model, {**state, last: torch.zeros(9)})
    assert all(torch.equal(weight, before[name]) for name, weight in lora_state(model).items())


@torch.no_grad()
def test_merging_adds_alpha_over_r_times_b_a():
    net = base()
    model = inject_lora(net, LoraSpec(RANKS, alpha=6.0))
    load_lora_state(model, random_state(model))
    before = lora_state(model)
    merged = merge_lora(model)
    assert not lora_modules(merged)
    assert merged.state_dict().keys() == net.state_dict().keys()
    assert all(p.requires_grad for p in merged.parameters())
    torch.testing.assert_close(merged(IMAGES, *PROMPT), model(IMAGES, *PROMPT), atol=1e-5, rtol=0)
    a, b = before["transformer.0.block.attn2.to_k.A"], before["transformer.0.block.attn2.to_k.B"]
    name = "transformer.0.block.attn2.to_k.weight"
    torch.testing.assert_close(merged.state_dict()[name], net.state_dict()[name] + 6 / 4 * b @ a)
    assert torch.equal(merged.state_dict()["stem.weight"], net.state_dict()["stem.weight"])
    # the model itself keeps its adapters, unmerged
    assert all(torch.equal(weight, before[name]) for name, weight in lora_state(model).items())
    assert not any(layer.merged for layer in lora_modules(model).values())


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(WeightgenError, match=r"lora.train='a'"):
        LoraSpec(train="a")
    with pytest.raises(WeightgenError, match=r"names \['middle'\]; this translator has \['down', 'out'"):
        inject_lora(base(), LoraSpec({**RANKS, "middle": 1}))


def test_no_adapter_at_all_is_an_error_with_a_remedy():
    with pytest.raises(WeightgenError, match=r"lora.ranks"):
        inject_lora(base(), LoraSpec({"down": 0, "transformer": 0, "up": 0, "out": 0}))

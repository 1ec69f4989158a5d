"""StackedLora equals one peft model per concept, in values and in gradients."""

import pytest
import torch

from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state, lora_parameters
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.stacked_lora import StackedLora, low_rank_convolution

RANKS = {"down": 2, "transformer": 2, "up": 2, "out": 2}


def setup(train: str):
    torch.manual_seed(0)
    base = E2GANGenerator(8, width=8, heads=2).eval()
    spec = LoraSpec(RANKS, alpha=3.0, train=train)
    stacked = StackedLora(base, spec)
    factors = {n: 0.1 * torch.randn(3, *shape) for n, shape in stacked.shapes.items()}
    images, tokens = torch.rand(6, 3, 16, 16) * 2 - 1, torch.randn(6, 4, 8)
    return base, spec, stacked, factors, images, tokens, torch.ones(6, 4, dtype=torch.bool)


@pytest.mark.parametrize("train", ["ab", "b"])
def test_equals_separate_models_with_their_gradients(train: str) -> None:
    base, spec, stacked, factors, images, tokens, mask = setup(train)
    factors = {name: f.requires_grad_() for name, f in factors.items()}
    out = stacked(images, tokens, mask, factors)
    out.square().sum().backward()
    for c in range(3):
        rows = slice(2 * c, 2 * c + 2)
        alone = load_lora_state(inject_lora(base, spec), {n: f[c].detach() for n, f in factors.items()})
        expected = alone(images[rows], tokens[rows], mask[rows])
        assert torch.allclose(out[rows], expected, atol=1e-5)
        expected.square().sum().backward()
        for name, parameter in lora_parameters(alone).items():
            assert torch.allclose(factors[name].grad[c], parameter.grad, atol=1e-4), name


@pytest.mark.parametrize("train", ["ab", "b"])
def test_zero_factors_leave_the_base_alone(train: str) -> None:
    base, _, stacked, _, images, tokens, mask = setup(train)
    assert torch.allclose(stacked(images, tokens, mask, stacked.zero(3)), base(images, tokens, mask), atol=1e-6)


def test_wrong_factors_and_counts_are_refused() -> None:
    _, _, stacked, factors, images, tokens, mask = setup("b")
    with pytest.raises(ValueError, match="share"):
        stacked(images[:5], tokens[:5], mask[:5], factors)
    first = next(iter(factors))
    with pytest.raises(ValueError, match=first):
        stacked(images, tokens, mask, {n: f for n, f in factors.items() if n != first})


def test_several_down_projections_are_the_same_as_a_loop_and_as_one_grouped_convolution() -> None:
    layer = torch.nn.Conv2d(5, 7, 3, stride=2, padding=1)
    x, a, b = torch.randn(6, 5, 8, 8), torch.randn(3, 2, 5, 3, 3), torch.randn(3, 7, 2, 1, 1)
    loop, grouped = (low_rank_convolution(layer, x, a, b, grouped=kind) for kind in (False, True))
    assert loop.shape == (6, 7, 4, 4)
    torch.testing.assert_close(grouped, loop, atol=1e-4, rtol=1e-5)

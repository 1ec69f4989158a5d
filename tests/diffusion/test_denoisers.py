"""What both denoisers promise: zero at the start, text that can be hidden, padding that cannot be seen."""

import pytest
import torch

from weightgen.diffusion.basis import BlockBasis
from weightgen.diffusion.joint import JointTransformer
from weightgen.diffusion.unet1d import BlockUNet1d

N, K, D, L, E, BLOCKS = 2, 3, 32, 5, 12, 7


def unet(**options):
    torch.manual_seed(0)
    return BlockUNet1d(D, BLOCKS, E, **({"width": 16, "levels": 2, "heads": 2, "patch": 4} | options))


def joint(**options):
    torch.manual_seed(0)
    return JointTransformer(D, BLOCKS, E, **({"width": 16, "layers": 2, "heads": 2} | options))


def awake(network):
    """As after training: no parameter at its zero start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True, True, True, False, False], [True, True, True, True, True]])
    return {
        "x_t": torch.randn(N, K, D, generator=g),
        "t": torch.tensor([999, 10]),
        "index": torch.tensor([[0, 4, 6], [2, 3, 0]]),
        "tokens": torch.randn(N, L, E, generator=g),
        "text_mask": mask,
    }


@pytest.mark.parametrize("make", [unet, joint])
def test_starts_by_predicting_zero(make, inputs):
    assert torch.equal(make()(**inputs), torch.zeros(N, K, D))


@pytest.mark.parametrize("make", [unet, joint])
@pytest.mark.parametrize("name", ["x_t", "t", "index", "tokens"])
def test_every_input_matters(make, inputs, name):
    network = awake(make())
    changed = inputs | {name: inputs[name].flip(0)}
    assert (network(**changed) - network(**inputs)).abs().max() > 1e-3


@pytest.mark.parametrize("make", [unet, joint])
def test_rank_0_has_no_basis(make, inputs):
    assert make(rank=0).own is None
    assert awake(make(rank=0))(**inputs).shape == (N, K, D)


def test_block_basis_by_hand():
    basis = BlockBasis(width=2, blocks=3, block_size=4, rank=2)
    h = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert torch.equal(basis(h, torch.tensor([[0, 2]])), torch.zeros(1, 2, 4))
    with torch.no_grad():
        basis.coefficients.weight.copy_(torch.eye(2))
        basis.coefficients.bias.zero_()
        basis.basis.weight[2] = torch.tensor([1.0, 0, 0, 0, 0, 0, 10, 0])  # two directions of four elements
    assert basis(h, torch.tensor([[0, 2]])).tolist() == [[[0, 0, 0, 0], [3, 0, 40, 0]]]


@pytest.mark.parametrize("make", [unet, joint])
def test_masked_tokens_are_not_seen(make, inputs):
    network = awake(make())
    expected = network(**inputs)
    inputs["tokens"][0, 3:] = 1e3
    torch.testing.assert_close(network(**inputs), expected)


@pytest.mark.parametrize("make", [unet, joint])
def test_no_visible_token_is_no_prompt(make, inputs):
    network = awake(make())
    inputs["text_mask"] = torch.zeros(N, L, dtype=torch.bool)
    blind = network(**inputs)
    assert blind.isfinite().all()
    torch.testing.assert_close(network(**inputs | {"tokens": -3 * inputs["tokens"]}), blind)


@pytest.mark.parametrize("make", [unet, joint])
def test_concepts_do_not_see_each_other(make, inputs):
    network = awake(make())
    together = network(**inputs)
    alone = network(**{name: value[1:] for name, value in inputs.items()})
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("make", [unet, joint])
def test_every_parameter_learns(make, inputs):
    network = awake(make(**({"evidence": True} if make is joint else {})))
    extra = {"evidence": torch.randn(N, K, D)} if make is joint else {}
    network(**inputs, **extra).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_unet_denoises_each_block_alone(inputs):
    network = awake(unet())
    expected = network(**inputs)
    inputs["x_t"][:, 1:] = 0
    torch.testing.assert_close(network(**inputs)[:, 0], expected[:, 0], atol=1e-5, rtol=1e-4)
    one = {name: value[:, :1] if name in ("x_t", "index") else value for name, value in inputs.items()}
    torch.testing.assert_close(network(**one)[:, 0], expected[:, 0], atol=1e-5, rtol=1e-4)


def test_joint_denoises_blocks_together_in_any_order(inputs):
    network = awake(joint())
    expected = network(**inputs)
    order = torch.tensor([2, 0, 1])
    moved = network(**inputs | {"x_t": inputs["x_t"][:, order], "index": inputs["index"][:, order]})
    torch.testing.assert_close(moved, expected[:, order], atol=1e-5, rtol=1e-4)  # a block is known by its index
    inputs["x_t"][:, 1:] = 0
    assert (network(**inputs)[:, 0] - expected[:, 0]).abs().max() > 1e-3


def test_unet_refuses_sizes_it_cannot_halve():
    with pytest.raises(ValueError, match=r"block size 32 is not a multiple of .* = 64"):
        unet(patch=16, levels=3)
    with pytest.raises(ValueError, match=r"width=18 must be a multiple of 8"):
        unet(width=18)


def test_joint_evidence(inputs):
    evidence = torch.randn(N, K, D)
    network = joint(evidence=True)
    assert (network.read_evidence.weight == 0).all()  # starts blind to it
    awake(network)
    assert (network(**inputs, evidence=evidence) - network(**inputs)).abs().max() > 1e-3
    torch.testing.assert_close(network(**inputs, evidence=torch.zeros(N, K, D)), network(**inputs))
    with pytest.raises(ValueError, match="evidence=False"):
        joint()(**inputs, evidence=evidence)
    with pytest.raises(ValueError, match=r"width=16 must be a multiple of denoiser\.heads=3"):
        joint(heads=3)

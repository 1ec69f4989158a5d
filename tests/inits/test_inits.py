"""Every initialisation by hand on a zoo of three sets."""

import inspect

import pytest
import torch
from torch import nn

from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.generation.generator import BlockGenerator
from weightgen.inits import base as inits
from weightgen.inits.base import GeneratedInit, MeanInit, NearestInit, Pix2PixInit, TrainedInit, WeightSpace, ZeroInit
from weightgen.text.encoders import TextFeatures
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer

# two blocks of two weights; three train concepts, their prompts at 0, 90 and 180 degrees
BLOCKS = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[3.0, 2.0], [3.0, 0.0]], [[5.0, 2.0], [0.0, 2.0]]])
POOLED = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
ZERO = torch.tensor([[7.0, 0.0], [8.0, 0.0]])  # A at its seed, B = 0


def text(degrees: float) -> TextFeatures:
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    pooled = torch.stack([angle.cos(), angle.sin()])[None]
    return TextFeatures(torch.full((1, 3, 4), float(degrees)), torch.ones(1, 3, dtype=torch.bool), pooled)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SPACE = WeightSpace(zero=ZERO, blocks=BLOCKS, pooled=POOLED, own=BLOCKS[1] + 10)


def test_zero_is_the_base_with_lora_at_zero():
    assert torch.equal(ZeroInit()(WeightSpace(zero=ZERO), text(0), noise()), ZERO)


def test_mean_of_the_zoo():
    expected = [[3.0, 2.0], [2.0, 2.0]]
    assert MeanInit()(SPACE, text(0), noise()).tolist() == expected


@pytest.mark.parametrize(("degrees", "nearest"), [(-30, 0), (44, 0), (46, 1), (134, 1), (136, 2), (200, 2)])
def test_nearest_by_cosine(degrees, nearest):
    assert torch.equal(NearestInit()(SPACE, text(degrees), noise()), BLOCKS[nearest])


def test_trained_is_the_concepts_own():
    assert torch.equal(TrainedInit()(SPACE, text(0), noise()), BLOCKS[1] + 10)


class PromptDenoiser(nn.Module):
    """x_0 = the prompt's first token value / 100 at every weight of block 0, its noise at block 1."""

    def forward(self, x_t, t, index, tokens, text_mask):
        return torch.where(index[..., None] == 0, tokens[:, :1, :1] / 100, x_t)


def test_generated_denoises_the_prompt_and_takes_the_normaliser_back():
    layout = BlockLayout({"a.A": (2,), "b.A": (1,)}, size=2)  # block 1 has one weight, then padding
    normalizer = Normalizer(torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([[2.0, 2.0], [5.0, 5.0]]))
    generator = BlockGenerator(PromptDenoiser(), Sampler(make_scheduler("sample")), layout, normalizer)
    space = WeightSpace(zero=ZERO, generator=generator)
    out = GeneratedInit()(space, text(50), noise(3))
    x_t = torch.randn(1, 2, 2, generator=noise(3))[0]
    # block 0: 0.5 * scale 2 + mean; block 1: noise * scale 5 + mean 3, padding 0
    expected = torch.tensor([[2.0, 3.0], [float(x_t[1, 0]) * 5 + 3, 0.0]])
    torch.testing.assert_close(out, expected)
    assert torch.equal(GeneratedInit()(space, text(50), noise(3)), out)


@pytest.mark.parametrize("init", [ZeroInit(), MeanInit(), NearestInit(), TrainedInit()])
def test_an_init_may_be_trained_on_without_touching_the_zoo(init):
    before = {name: getattr(SPACE, name).clone() for name in ("zero", "blocks", "own")}
    init(SPACE, text(0), noise()).add_(1)
    assert all(torch.equal(getattr(SPACE, name), value) for name, value in before.items())


def test_what_each_init_is_built_from():
    needs = {ZeroInit: "base", MeanInit: "blocks", NearestInit: "blocks", GeneratedInit: "denoiser"}
    needs |= {TrainedInit: "lora", Pix2PixInit: "scratch", inits.GuidedInit: "guide"}
    assert {init: init.needs for init in needs} == needs
    classes = [c for name, c in inspect.getmembers(inits, inspect.isclass) if c.__module__ == inits.__name__]
    tested = {*needs, WeightSpace, inits.LoraInit}
    assert set(classes) == tested  # a new init wants a test here

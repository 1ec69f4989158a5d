"""Every initialisation by hand on a zoo of three sets."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.errors import WeightgenError
from weightgen.generation.block_generator import BlockGenerator
from weightgen.inits import INITS
from weightgen.inits.base import Init, TrainedInit, WeightSpace, ZeroInit
from weightgen.inits.generated import GeneratedInit
from weightgen.inits.scratch import Pix2PixInit
from weightgen.inits.zoo import MeanInit, NearestInit
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


# name -> what it needs; whether it is built on the zoo follows, and so does the fine-tuning schedule
EXPECTED = {
    "pix2pix": "scratch",
    "pix2pix_zero_distilled": "scratch",
    "e2gan": "base",
    "text_base": "base",
    "mean": "base zoo",
    "nearest": "base zoo",
    "nearest_k": "base zoo validation",
    "noised_nearest": "base zoo",
    "pca_gaussian": "base zoo",
    "ridge": "base zoo validation",
    "mlp": "base zoo validation",
    "few_steps": "base pairs validation",
    "text_to_weights": "base generator",
    "generated": "base generator",
    "generated_shuffled": "base generator",
    "generated_gibberish": "base generator",
    "generated_best_of": "base generator pairs",
    "generated_few_steps": "base generator pairs validation",
    "guided": "base generator guide pairs",
    "trained": "base own",
}


@pytest.mark.parametrize("name", INITS.classes)
def test_all_that_the_pipeline_wants_to_know_follows_from_the_needs(name):
    init = INITS.find(name)
    needs = EXPECTED[name]
    assert init.needs == set(needs.split())
    assert init.schedule() == {"scratch": "scratch", "base own": "own"}.get(needs, "lora")
    assert init.from_scratch() == (needs == "scratch")
    assert init.rests_on_zoo() == any(word in needs for word in ("zoo", "generator", "guide"))
    assert init.has_novelty() == (needs not in ("scratch", "base"))
    told = {"generated_shuffled": "another", "generated_gibberish": "gibberish"}.get(name, "own")
    assert (init.told, init.control) == (told, told != "own")
    assert init.base == ("all" if name == "text_base" else None)
    assert init.prediction == ("direct" if name == "text_to_weights" else None)
    assert init.net == ("distilled" if name == "pix2pix_zero_distilled" else "scratch")


def test_needs_are_words_of_the_list():
    with pytest.raises(TypeError, match=r"needs must be some of .*, not \['generator_and_pairs'\]"):
        type("Wrong", (Init,), {"needs": frozenset({"generator_and_pairs"})})


def test_what_starts_from_scratch_has_no_lora():
    with pytest.raises(WeightgenError, match="Pix2PixInit starts from scratch"):
        Pix2PixInit()(SPACE, text(0), noise())


def test_asking_for_needs_imports_no_torch():
    code = "import sys; from weightgen.inits import INITS; print(*(sorted(INITS.find(n).needs) for n in INITS.classes))"
    run = [sys.executable, "-c", f"{code}; assert not {{'torch', 'numpy'}} & set(sys.modules)"]
    assert "validation" in subprocess.run(run, capture_output=True, text=True, check=True).stdout

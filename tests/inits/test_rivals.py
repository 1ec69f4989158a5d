"""The rivals of the weight generator, on zoos small enough to work out by hand."""

import math

import pytest
import torch
from torch.nn.functional import l1_loss

from weightgen.errors import WeightgenError
from weightgen.generation.pairs_loss import Evidence
from weightgen.generation.through_base import ThroughBase
from weightgen.inits.base import TextBaseInit, Validation, WeightSpace
from weightgen.inits.generated import GeneratedBestOfInit, GeneratedFewStepsInit
from weightgen.inits.pairs import FewStepsInit
from weightgen.inits.zoo import NearestKInit, NoisedNearestInit, PcaGaussianInit, combine, principal
from weightgen.text.encoders import TextFeatures
from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state, lora_parameters, lora_state
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.pictures import to_signed
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.blocks import BlockLayout

ZERO = torch.zeros(2, 2)
A, B, C = (torch.tensor([[v, 2 * v], [-v, 0.0]]) for v in (0.0, 3.0, 6.0))  # last weight: padding


def prompt(*pooled):
    return TextFeatures(torch.zeros(1, 3, 4), torch.ones(1, 3, dtype=torch.bool), torch.tensor([pooled]))


def three(**options):
    """A, B, C at 0, 60 and 90 degrees in text space."""
    half = math.sqrt(3) / 2
    pooled = torch.tensor([[1.0, 0.0], [0.5, half], [0.0, 1.0]])
    return WeightSpace(ZERO, torch.stack([A, B, C]), pooled, **options)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def test_combine_is_the_mean_plus_weighted_deviations():
    blocks = three().blocks
    torch.testing.assert_close(combine(blocks, torch.zeros(3)), B)
    torch.testing.assert_close(combine(blocks, torch.tensor([0.0, 0.0, 1.0])), C)
    torch.testing.assert_close(combine(blocks, torch.tensor([0.0, 0.0, 2.0])), 2 * C - B)


def test_nearest_k_weights_by_softmax_of_the_cosine():
    # cosines with the prompt at 0 degrees: 1, 1/2, 0
    def nearest(k, temperature, *pooled):
        space = three(fitted={"k": torch.tensor([k]), "temperature": torch.tensor([temperature])})
        return NearestKInit()(space, prompt(*pooled), noise())

    weight = math.exp(1) / (math.exp(1) + math.exp(2))  # of B: softmax of (2, 1)
    torch.testing.assert_close(nearest(2, 0.5, 1.0, 0.0), weight * B)
    torch.testing.assert_close(nearest(1, 0.1, 0.0, 1.0), C)
    torch.testing.assert_close(nearest(9, 1e6, 0.0, 1.0), B)


def judged(*answers, **options):
    """Validation concepts at 0 degrees, whose translators are the better the nearer their sets are to `answers`."""
    wanted = torch.stack(answers)
    texts = [prompt(1.0, 0.0) for _ in answers]
    return Validation(texts, lambda sets: (sets - wanted).abs().flatten(1).mean(1), **options)


def test_nearest_k_takes_what_is_best_on_validation_concepts():
    weight = math.exp(1) / (math.exp(1) + math.exp(2))
    init = NearestKInit(ks=(1, 2, 3), temperatures=(0.1, 0.5, 9.0))
    fitted = init.fit(three(validation=judged(weight * B, weight * B)), 0)
    assert (int(fitted["k"]), float(fitted["temperature"])) == (2, 0.5)
    assert float(fitted["validation_error"]) == pytest.approx(0, abs=1e-6)
    assert int(init.fit(three(validation=judged(A)), 0)["k"]) == 1
    with pytest.raises(WeightgenError, match=r"concepts\.validation"):
        init.fit(three(), 0)
    with pytest.raises(WeightgenError, match="not fitted"):
        init(three(), prompt(1.0, 0.0), noise())


def test_what_gives_no_finite_pictures_is_named():
    with pytest.raises(WeightgenError, match="finite"):
        NearestKInit().fit(three(validation=judged(A * torch.nan)), 0)


def test_noise_has_a_tenth_of_each_weights_own_deviation():
    draws = torch.stack([NoisedNearestInit(0.1)(three(), prompt(0.0, 1.0), noise(i)) for i in range(2000)])
    rms = math.sqrt(6)  # of 0, 3, 6 around 3
    expected = 0.1 * rms * torch.tensor([[1.0, 2.0], [1.0, 0.0]])
    torch.testing.assert_close(draws.std(0), expected, rtol=0.1, atol=0)
    torch.testing.assert_close(draws.mean(0), C, rtol=0.02, atol=1e-6)
    assert bool((draws[:, 1, 1] == 0).all())
    torch.testing.assert_close(NoisedNearestInit(0.0)(three(), prompt(0.0, 1.0), noise()), C)


def test_principal_components_rebuild_the_zoo():
    blocks = torch.randn(5, 3, 4, generator=noise())
    mixing, deviations = principal(blocks, 99)
    assert mixing.shape == (5, 4)  # five centred sets span four dimensions
    expected = torch.linalg.svdvals((blocks - blocks.mean(0)).flatten(1).double())[:4] / 2
    torch.testing.assert_close(deviations, expected)
    for i in range(5):
        torch.testing.assert_close(combine(blocks, 4 * mixing @ mixing[i]), blocks[i], rtol=1e-4, atol=1e-5)


def test_pca_draws_have_the_zoos_mean_and_covariance():
    blocks = torch.randn(4, 1, 3, generator=noise()) * torch.tensor([3.0, 1.0, 0.2])
    space = WeightSpace(ZERO, blocks, torch.eye(4))
    g = noise(1)
    draws = torch.stack([PcaGaussianInit(8)(space, prompt(1.0, 0.0), g) for _ in range(6000)])[:, 0]
    torch.testing.assert_close(draws.mean(0), blocks.mean(0)[0], rtol=0, atol=0.15)
    torch.testing.assert_close(draws.T.cov(), blocks[:, 0].T.cov(), rtol=0.08, atol=0.1)
    first = torch.stack([PcaGaussianInit(1)(space, prompt(1.0, 0.0), g) for _ in range(50)])[:, 0]
    assert torch.linalg.matrix_rank(first - first.mean(0), atol=1e-3) == 1


@pytest.mark.parametrize("blocks", [torch.stack([A]), torch.stack([B, B, B])])
def test_a_zoo_without_variation_gives_its_only_set(blocks):
    fitted = {"k": torch.tensor([5]), "temperature": torch.tensor([0.1])}
    space = WeightSpace(ZERO, blocks, torch.eye(2)[:1].expand(len(blocks), -1), fitted=fitted)
    for init in (NearestKInit(), NoisedNearestInit(), PcaGaussianInit()):
        torch.testing.assert_close(init(space, prompt(1.0, 0.0), noise()), blocks[0])


def test_the_base_that_saw_all_concepts_starts_with_its_lora_at_zero():
    assert torch.equal(TextBaseInit()(three(), prompt(1.0, 0.0), noise()), ZERO)


@pytest.mark.parametrize(
    "make",
    [
        lambda: NearestKInit(ks=[0]),
        lambda: NearestKInit(temperatures=[0.0]),
        lambda: GeneratedBestOfInit(starts=0),
        lambda: PcaGaussianInit(0),
        lambda: FewStepsInit(steps=0),
        lambda: FewStepsInit(pairs=0),
    ],
)
def test_senseless_options_are_named(make):
    with pytest.raises(WeightgenError, match="init"):
        make()


# Evidence

RATE = {"rate": torch.tensor([0.02])}


def evidence(train="ab", pairs=3, rule=1):
    torch.manual_seed(0)
    base = E2GANGenerator(text_dim=6, width=8)
    model = inject_lora(base, LoraSpec({"down": 1, "transformer": 1, "up": 2, "out": 1}, 4.0, train))
    layout = BlockLayout({name: tuple(w.shape) for name, w in lora_state(model).items()}, 64, rule)
    text = TextFeatures(torch.randn(1, 4, 6), torch.tensor([[True, True, True, False]]), torch.ones(1, 1))
    images = torch.randint(0, 256, (2, pairs, 3, 8, 8), dtype=torch.uint8)
    lora = LoraSpec({"down": 1, "transformer": 1, "up": 2, "out": 1}, 4.0, train)
    return Evidence(images[0], images[1], ThroughBase(StackedLora(base, lora), layout), text), model


def plain_loss(seen, model):
    """L1 of the peft model with its own factors."""
    prompt = seen.text.tokens.expand(len(seen), -1, -1), seen.text.mask.expand(len(seen), -1)
    return l1_loss(model(to_signed(seen.source), *prompt), to_signed(seen.target))


@pytest.mark.parametrize(("train", "rule"), [("ab", 1), ("ab", 3), ("b", 2)])
def test_evidence_gradient_is_autograds_on_the_peft_model(train, rule):
    seen, model = evidence(train, rule=rule)
    layout = seen.through.layout
    blocks = layout.valid() * 0.1 * torch.randn(layout.blocks, 64)
    with torch.no_grad():  # where inits are called
        loss, gradient = seen.loss_and_gradient(blocks)
    load_lora_state(model, layout.from_blocks(blocks))
    expected = plain_loss(seen, model)
    parameters = lora_parameters(model)
    gradients = torch.autograd.grad(expected, list(parameters.values()))
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(
        gradient, layout.to_blocks(dict(zip(parameters, gradients, strict=True))), rtol=1e-4, atol=1e-7
    )
    assert bool((gradient[~layout.valid()] == 0).all())


def test_few_steps_are_adam_on_the_peft_models_own_factors():
    seen, model = evidence(pairs=5)
    layout = seen.through.layout
    zero = layout.to_blocks(lora_state(model))
    init = FewStepsInit(steps=4, pairs=3, betas=(0.5, 0.99))
    with torch.no_grad():
        blocks = init(WeightSpace(zero, evidence=seen, fitted=RATE), seen.text, noise())
    few = seen.first(3)
    optimizer = torch.optim.Adam(lora_parameters(model).values(), 0.01, (0.5, 0.99))
    start = float(plain_loss(few, model).detach())
    for _ in range(4):
        optimizer.zero_grad()
        loss = plain_loss(few, model)
        loss.backward()
        optimizer.param_groups[0]["lr"] = 0.02 * float(loss.detach())
        optimizer.step()
    # Adam divides by gradients near 0: rounding of the stacked path grows to 3e-5 where steps are .02
    torch.testing.assert_close(blocks, layout.to_blocks(lora_state(model)), rtol=0, atol=1e-4)
    assert float(few.loss(blocks)) < start
    assert float((blocks - zero).abs().max()) > 0.02


class Answer:
    """A weight generator that gives known sets, one a prompt."""

    def __init__(self, *sets):
        self.sets = torch.stack(sets)

    def __call__(self, text, noise):
        return self.sets[: len(text)]


def test_the_rate_is_the_best_on_validation_concepts():
    """Judged by the very pairs that it moves on: the error of each rate can be had by hand."""
    seen, model = evidence(pairs=4)
    zero = seen.through.layout.to_blocks(lora_state(model))
    init = FewStepsInit(steps=2, pairs=4, rates=(1e-4, 0.02, 5.0))
    with torch.no_grad():
        errors = {rate: float(seen.loss(init.move(zero, seen, rate))) for rate in init.rates}
        validation = Validation([seen.text], lambda sets: seen.loss(sets[0])[None], [seen])
        fitted = init.fit(WeightSpace(zero, validation=validation), 0)
    assert float(fitted["rate"]) == pytest.approx(min(errors, key=errors.get)) == 0.02
    assert float(fitted["validation_error"]) == pytest.approx(errors[0.02])


def test_the_best_of_several_starts_is_the_one_that_the_pairs_choose():
    seen, _ = evidence(pairs=4)
    layout = seen.through.layout
    sets = [layout.valid() * 0.2 * torch.randn(layout.blocks, 64) for _ in range(3)]
    with torch.no_grad():
        losses = [float(seen.first(2).loss(blocks)) for blocks in sets]
        best = GeneratedBestOfInit(starts=3, pairs=2)(
            WeightSpace(sets[0], evidence=seen, generator=Answer(*sets)), seen.text, noise()
        )
        torch.testing.assert_close(seen.first(2).losses(torch.stack(sets)).tolist(), losses)
    assert torch.equal(best, sets[losses.index(min(losses))])


def test_steps_from_the_generated_set_are_adams_from_there():
    seen, _ = evidence(pairs=4)
    layout = seen.through.layout
    generated = layout.valid() * 0.1 * torch.randn(layout.blocks, 64)
    before = generated.clone()
    space = WeightSpace(torch.zeros_like(generated), evidence=seen, generator=Answer(generated), fitted=RATE)
    one = GeneratedFewStepsInit(steps=1, pairs=2)(space, seen.text, noise())
    loss, gradient = seen.first(2).loss_and_gradient(generated)
    # Adam's first step is its rate times the gradient's sign, whatever the betas.
    expected = generated - 0.02 * loss * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(one, expected, rtol=0, atol=1e-6)
    assert torch.equal(generated, before)  # the generator's own stay


def test_evidence_refuses_what_does_not_fit():
    seen, _ = evidence()
    with pytest.raises(WeightgenError, match=r"4 pairs.*there are 3"):
        seen.first(4)
    with pytest.raises(WeightgenError, match="at least one pair"):
        Evidence(seen.source[:0], seen.target[:0], seen.through, seen.text)
    with pytest.raises(WeightgenError, match="uint8"):
        Evidence(seen.source.float(), seen.target, seen.through, seen.text)
    other = BlockLayout({**seen.through.layout.shapes, "extra.A": (2, 2)}, 64)
    with pytest.raises(WeightgenError, match=r"extra\.A"):
        ThroughBase(seen.through.stacked, other)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"pairs": 0}, {"rates": [0.0]}, {"rates": []}])
def test_few_steps_want_positive_numbers(bad):
    with pytest.raises(WeightgenError, match=r"init\.rates"):
        FewStepsInit(**bad)

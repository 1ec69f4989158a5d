"""Guided refinement: an untrained refiner is sign descent, a concept's gradient is its own, training beats sign descent."""

import pytest
import pytorch_lightning as pl
import torch

from tests.helpers.through_base import TRAINER, parts
from weightgen.batches import Pairs, Texts, concept_batches
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.errors import WeightgenError
from weightgen.generation.block_generator import BlockGenerator
from weightgen.generation.guided import Guide, GuidedRefiner, unit
from weightgen.generation.guided_training import GuidedModule
from weightgen.generation.pairs_loss import Evidence
from weightgen.inits.base import WeightSpace
from weightgen.inits.generated import GuidedInit
from weightgen.text.encoders import TextFeatures


def guide(rate: float = 0.05, photos: int = 2) -> tuple[Guide, object, object]:
    """A guide, the function-space module that it shares base and layout with, and its batches."""
    module, batches = parts(30, photos)
    torch.manual_seed(1)
    refiner = GuidedRefiner(64, module.through.layout.blocks, 8, width=16, layers=1, heads=2, hidden=8, rate=rate)
    return Guide(refiner, module.through.stacked, module.through.layout, module.normalizer), module, batches


def test_an_untrained_round_is_sign_descent() -> None:
    g, _, batches = guide(rate=0.01)
    batch = batches.batch(0)
    start = torch.zeros_like(batch["own"])
    (after,) = g.rounds(start, batch, pairs=2, rounds=1)
    loss, gradient = g.loss_and_gradient(start, batch)
    direction, _ = unit(gradient)
    torch.testing.assert_close(after, -0.01 * loss[:, None, None] * torch.tanh(3 * direction) * g.valid)
    assert bool((after[:, ~g.valid] == 0).all())
    assert bool((g.loss(after, batch) < g.loss(start, batch)).all())


def test_a_concepts_gradient_is_the_same_alone_and_only_the_first_pairs_guide() -> None:
    g, _module, batches = guide()
    batch = batches.batch(0)
    start = batch["own"] * 0.01
    for row in range(2):
        text = TextFeatures(batch["tokens"][row : row + 1], batch["text_mask"][row : row + 1], torch.zeros(1, 8))
        evidence = Evidence(batch["source"][row], batch["target"][row], g, text).first(1)
        ours, theirs = g.loss_and_gradient(start, batch, slice(0, 1)), evidence.loss_and_gradient(start[row])
        torch.testing.assert_close(ours[0][row], theirs[0])
        torch.testing.assert_close(ours[1][row], theirs[1], atol=1e-7, rtol=1e-4)
    both, first = (g.loss_and_gradient(start, batch, part)[1] for part in (slice(None), slice(0, 1)))
    assert not torch.allclose(both, first)


def test_training_beats_sign_descent_on_pairs_that_did_not_guide() -> None:
    g, module, batches = guide(rate=0.02, photos=3)
    generator = BlockGenerator(module.denoiser, Sampler(make_scheduler()), g.layout, g.normalizer)
    zero = torch.zeros(g.layout.blocks, 64)
    before = {name: weight.clone() for name, weight in module.denoiser.state_dict().items()}
    trained = GuidedModule(
        g, generator, zero, lambda p: torch.optim.Adam(p, 3e-3), pairs=(1, 2), rounds=2, query=1, ema_decay=0.5
    )

    def judged() -> float:
        batch, query = batches.batch(999), slice(2, None)
        *_, after = g.rounds(zero.expand(4, -1, -1), batch, pairs=2, rounds=2)
        return float(g.loss(after, batch, query).mean().detach())

    untrained = judged()
    pl.Trainer(**TRAINER).fit(trained, batches)
    assert judged() < 0.9 * untrained
    assert all(torch.equal(weight, before[name]) for name, weight in module.denoiser.state_dict().items())


def test_rounds_start_from_own_text_anothers_or_zero_by_seed_and_step() -> None:
    g, module, batches = guide()
    generator = BlockGenerator(module.denoiser, Sampler(make_scheduler()), g.layout, g.normalizer)
    zero = torch.full((g.layout.blocks, 64), 7.0)
    trained = GuidedModule(g, generator, zero, lambda p: torch.optim.Adam(p, 1e-3))
    starts = trained.starts(batches.batch(0), 0)
    assert torch.equal(starts, trained.starts(batches.batch(0), 0))
    kinds = {bool((row == 7).all()) for seed in range(6) for row in _with_seed(trained, seed, batches)}
    assert kinds == {True, False}


def test_a_share_of_the_concepts_goes_by_anothers_prompt() -> None:
    g, module, batches = guide()
    generator = BlockGenerator(module.denoiser, Sampler(make_scheduler()), g.layout, g.normalizer)
    zero, batch = torch.zeros(g.layout.blocks, 64), batches.batch(0)
    for foreign, own in ((0.0, 4), (1.0, 0)):
        module = GuidedModule(g, generator, zero, lambda p: torch.optim.Adam(p, 1e-3), foreign=foreign)
        called = module.called(batch, 0)
        kept = [torch.equal(a, b) for a, b in zip(called["tokens"], batch["tokens"], strict=True)]
        assert sum(kept) == own
        assert torch.equal(called["target"], batch["target"])


def _with_seed(trained: GuidedModule, seed: int, batches) -> torch.Tensor:
    trained.seed = seed
    return trained.starts(batches.batch(0), 0)


def test_the_init_needs_as_many_pairs_as_it_names_and_runs_its_rounds() -> None:
    g, _module, batches = guide()
    batch = batches.batch(0)
    text = TextFeatures(batch["tokens"][:1], batch["text_mask"][:1], torch.zeros(1, 8))
    evidence = Evidence(batch["source"][0], batch["target"][0], g, text)
    zero = torch.zeros(g.layout.blocks, 64)
    space = WeightSpace(zero=zero, evidence=evidence, guide=g)
    noise = torch.Generator()
    three = GuidedInit(pairs=2, rounds=3, start="zero")(space, text, noise)
    one = GuidedInit(pairs=2, rounds=1, start="zero")(space, text, noise)
    losses = [float(evidence.loss(blocks).detach()) for blocks in (zero, one, three)]
    assert losses[2] < losses[1] < losses[0]
    with pytest.raises(WeightgenError, match="there are 2"):
        GuidedInit(pairs=3, start="zero")(space, text, noise)
    for bad in ({"pairs": 0}, {"rounds": 0}, {"start": "mean"}):
        with pytest.raises(WeightgenError, match=r"init\.pairs"):
            GuidedInit(**bad)


def test_how_many_pairs_guide_is_independent_of_the_first_concept_of_the_batch() -> None:
    """Over 900 steps of a zoo of 120 concepts, each of the 3 numbers of pairs goes with each third of the concepts."""
    g, module, _ = guide()
    generator = BlockGenerator(module.denoiser, Sampler(make_scheduler()), g.layout, g.normalizer)
    trained = GuidedModule(g, generator, torch.zeros(g.layout.blocks, 64), lambda p: None, pairs=(1, 4, 8))
    texts = Texts(torch.zeros(1, 1, 8), torch.ones(1, 1, dtype=torch.bool), [[0]] * 120)
    photos = torch.zeros(12, 3, 1, 1, dtype=torch.uint8)
    batches = concept_batches(Pairs(photos, [photos] * 120), texts, torch.arange(120.0), concepts=4, photos=12)
    table = torch.zeros(3, 3)
    for step in range(900):
        table[(1, 4, 8).index(trained.guiding(step)), int(batches.batch(step)["own"][0]) % 3] += 1
    expected = table.sum(0) * table.sum(1)[:, None] / 900
    assert (
        float(((table - expected) ** 2 / expected).sum()) < 18.5
    )  # chi squared of 4 degrees of freedom: one in a thousand

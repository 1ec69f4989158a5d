"""Three tiny concepts, their solo runs and their fleets, for the fleet tests."""

from functools import cache, partial

import pytorch_lightning as pl
import torch

from weightgen.batches import Pairs, Texts, pair_batches
from weightgen.translation.fleet.batches import FleetBatches
from weightgen.translation.fleet.members import FleetResult
from weightgen.translation.fleet.training import FleetModule, FleetSteps
from weightgen.translation.lora import LoraSpec, inject_lora, lora_state
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.nets.patchgan import PatchDiscriminator
from weightgen.translation.training import TranslatorModule

# at 5 times this rate a solo run itself moves by 1e-2 in 20 steps when its base is perturbed by 1e-7
ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))
ADAM_D = partial(torch.optim.AdamW, lr=1e-3, betas=(0.5, 0.999), weight_decay=0.1)
NAMES = ["red", "green", "blue"]
RANKS = {"down": 2, "transformer": 2, "up": 2, "out": 2}
SCHEDULE = {"warmup_steps": 3, "decay_start": 0.5}
PROMPTS = [[0], [1, 2], [3]]
SEED = 5
BATCH = 2


@cache
def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """photos (5, 3, 16, 16), targets (3, 5, ...), tokens (4, 3, 8), mask (4, 3)."""
    noise = torch.Generator().manual_seed(1)
    photos = torch.randint(0, 256, (5, 3, 16, 16), generator=noise, dtype=torch.uint8)
    targets = torch.stack([255 - photos, photos.roll(1, 1), photos // 2])
    # two tokens at least: with one, attention has nothing to choose, and Adam steps on what rounding leaves of its gradient
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 1, 1]]).bool()
    return photos, targets, torch.randn(4, 3, 8, generator=noise), mask


@cache
def base() -> E2GANGenerator:
    torch.manual_seed(0)
    return E2GANGenerator(8, width=8, heads=2, resnet_blocks=1).eval()


def discriminator() -> PatchDiscriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PatchDiscriminator(8, 1)


def spec(train: str, concept: int = 0, own: bool = False) -> LoraSpec:
    return LoraSpec(RANKS, alpha=3.0, train=train, seed=concept if own else 0)


def trainer() -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@cache
def solo(concept: int, steps: int, train: str = "b", gan: bool = True, own: bool = False):
    """The weights that one TranslatorModule run gives."""
    photos, targets, tokens, mask = data()
    texts = Texts(tokens, mask, [PROMPTS[concept]])
    batches = pair_batches(Pairs(photos, [targets[concept]]), texts, BATCH, SEED, steps)
    module = TranslatorModule(
        inject_lora(base(), spec(train, concept, own)),
        discriminator() if gan else None,
        ADAM,
        discriminator_optimizer=ADAM_D,
        max_steps=steps,
        **SCHEDULE,
    )
    trainer().fit(module, batches)
    return lora_state(module.generator)


def fleet(
    steps: dict[str, int], train: str = "b", gan: bool = True, **options
) -> tuple[FleetModule, dict[str, FleetResult]]:
    photos, targets, tokens, mask = data()
    results: dict[str, FleetResult] = {}
    numbers = [NAMES.index(name) for name in steps]
    batches = FleetBatches(
        photos, [targets[n] for n in numbers], Texts(tokens, mask, [PROMPTS[n] for n in numbers]), BATCH, SEED
    )
    options = {"size": 3, "discriminator": discriminator() if gan else None, **SCHEDULE, **options}
    module = FleetModule(
        base(),
        spec(train),
        steps,
        options.pop("batches", batches),
        ADAM,
        lambda result: results.update({result.name: result}),
        discriminator_optimizer=ADAM_D,
        **options,
    )
    return module, results


def run(module: FleetModule) -> None:
    for step in FleetSteps(module):
        module.training_step(step, step)


def assert_solo(results: dict[str, FleetResult], steps: dict[str, int], **options) -> None:
    assert results.keys() == steps.keys()
    for name, count in steps.items():
        expected = solo(NAMES.index(name), count, **options)
        assert results[name].steps == count
        assert results[name].state.keys() == expected.keys()
        for factor, weight in expected.items():
            torch.testing.assert_close(results[name].state[factor], weight, atol=1e-4, rtol=0, msg=factor)


TWENTY = dict.fromkeys(NAMES, 20)

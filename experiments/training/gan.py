"""The training of one translator against a discriminator, as a stage's key describes it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from experiments.training.payloads import optimizer, seeded
from weightgen.translation.nets import DISCRIMINATORS
from weightgen.translation.training import TranslatorModule


def new_discriminator(config: Mapping[str, Any]) -> nn.Module | None:
    """Fresh weights by the key's seed; None where the budget trains by L1 alone."""
    adversarial = config["budget"]["adversarial"]
    return seeded(config["seed"], DISCRIMINATORS, config["discriminator"]) if adversarial else None


def gan_options(budget: Mapping[str, Any]) -> dict[str, Any]:
    """What TranslatorModule and FineTuneModule take of a budget alike."""
    return {
        "discriminator_optimizer": optimizer(budget["discriminator_optimizer"]),
        "l1_weight": budget["l1_weight"],
        "warmup_steps": budget["warmup_steps"],
        "decay_start": budget["decay_start"],
    }


def translator_module(generator: nn.Module, config: Mapping[str, Any], steps: int) -> TranslatorModule:
    """config: of the key, with "budget", "discriminator" and "seed"."""
    budget = config["budget"]
    discriminator = new_discriminator(config)
    return TranslatorModule(
        generator, discriminator, optimizer(budget["optimizer"]), **gan_options(budget), max_steps=steps
    )

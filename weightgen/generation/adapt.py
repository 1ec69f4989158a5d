"""The best-measured use in one call: weights from words, refined by a few pairs, then trained on them for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from weightgen.batches import PairBatches, Pairs, Texts
from weightgen.errors import DataError, NotFinite
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.pictures.examples import examples
from weightgen.generation.translator import Translator
from weightgen.rng import drawing_from
from weightgen.translation.lane import GanLane
from weightgen.translation.nets.patchgan import PatchDiscriminator
from weightgen.translation.training import TranslatorModule

BATCH, RATE, L1_WEIGHT = 4, 1e-3, 100.0  # those of budget.finetune, as they were measured
EMA_DECAY = 0.8  # so that the first steps do not throw a good start away (experiments/results/winning, section 14)
FASTEST = 1000  # steps a second that no device passes: how far plans reach


def adapt(
    generator: WeightGenerator,
    prompt: str,
    pairs: Sequence[tuple[Any, Any]],
    seconds: float = 5.0,
    seed: int = 0,
    steps: int | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Translator:
    """A translator for the edit that `pairs` show and `prompt` names.

    pairs: (before, after), each anything that a translator takes; one is enough, 4 to 16 are better. seconds: of training
    all weights against a discriminator, after the refinement (0: none); how many steps they hold depends on the machine.
    steps: so many instead, which gives the same weights everywhere. progress: hears shares from 0 to 1. Raises DataError
    for what is no pair, NotFinite where training ran away.
    """
    if not 0 <= seconds <= 3600 or (steps is not None and steps < 0):
        raise DataError(f"seconds={seconds}, steps={steps}: from 0 to 3600 seconds, or 0 steps and more")
    start = generator(prompt, seed, like=pairs if generator.refiner else None)
    most = steps if steps is not None else int(min(seconds * FASTEST, 20_000))
    if most == 0:
        return start
    sources, targets = examples(pairs, generator.side)
    with drawing_from(seed, "adapt/discriminator"):
        discriminator = PatchDiscriminator()
    adam = partial(torch.optim.Adam, lr=RATE, betas=(0.5, 0.999))
    model = start.merged().requires_grad_(True)
    module = TranslatorModule(model, discriminator, adam, L1_WEIGHT, max_steps=most, ema_decay=EMA_DECAY)
    texts = Texts(start.text.tokens, start.text.mask, [[0]])
    lane = GanLane(module, PairBatches(Pairs(sources, [targets]), texts, BATCH, seed, most))
    began = time.perf_counter()
    while lane.done < most and (steps is not None or time.perf_counter() - began < seconds):
        lane.advance(1)
        progress(lane.done / most if steps is not None else min(1.0, (time.perf_counter() - began) / seconds))
    trained = module.averaged
    if not all(bool(weight.isfinite().all()) for weight in trained.state_dict().values()):
        raise NotFinite(f"{prompt!r}: training on these pairs ran away; give more pairs or fewer seconds")
    return Translator(trained.eval().requires_grad_(False), start.text, start.description, prompt, start.base)

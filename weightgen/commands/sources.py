"""Where a command's translators come from: a generator and words, or a folder."""

from argparse import Namespace
from functools import cache
from pathlib import Path

from weightgen.commands.parser import shares
from weightgen.errors import DataError
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.pictures.examples import pairs_in
from weightgen.generation.translator import Translator

STRENGTHS = (0.0, 1.5)


def translators(asked: Namespace) -> dict[str, Translator]:
    """Name -> translator, for each result that --prompt (or --translator) asks for."""
    if getattr(asked, "translator", None):
        if asked.prompt:
            raise DataError("--translator has a prompt of its own: leave --prompt out")
        translator = Translator.load(asked.translator)
        return {translator.prompt: translator}
    if not asked.prompt:
        raise DataError('say what to make of the photos: --prompt "a pencil sketch in sepia tones"')
    if not STRENGTHS[0] <= asked.strength <= STRENGTHS[1]:
        raise DataError(f"--strength={asked.strength}: from {STRENGTHS[0]} to {STRENGTHS[1]}")
    try:
        wanted = shares(asked.prompt)
    except ValueError as error:
        raise DataError(str(error)) from error
    like, generator = pairs_in(asked.like) if asked.like else None, loaded(asked.generator)
    made = [generator(prompt, asked.seed, asked.strength, like) for prompt in wanted]
    return {translator.prompt: translator for translator in made}


@cache
def loaded(folder: str | None) -> WeightGenerator:
    return WeightGenerator.load(None if folder is None else Path(folder))

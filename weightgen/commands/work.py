"""`weightgen look`, `generate`, `adapt`, `export` and `info`."""

import sys
from argparse import Namespace
from pathlib import Path

import torch
from PIL import ImageOps
from tqdm import tqdm

from weightgen.commands.parser import FORMATS
from weightgen.commands.sources import loaded, translators
from weightgen.data.concepts.concept import slug
from weightgen.data.photos.bundled import bundled_files
from weightgen.errors import DataError
from weightgen.evaluation.figures.grid import grid
from weightgen.generation.adapt import adapt
from weightgen.generation.export import EXPORTS
from weightgen.generation.generator import SHIPPED, WeightGenerator
from weightgen.generation.pictures.examples import pairs_in
from weightgen.generation.pictures.images import pixels, read_photo
from weightgen.generation.translator import FILE, Translator


def look(asked: Namespace) -> int:
    """Rows are prompts, columns the middles of photos."""
    if not 16 <= asked.size <= 2048:
        raise DataError(f"--size={asked.size}: from 16 to 2048")
    if Path(asked.out).suffix.lower() != ".png":
        raise DataError(f"--out={asked.out}: end it in .png")
    generator, files = loaded(asked.generator), [Path(path) for path in asked.photos] or bundled_files()
    photos = torch.cat([pixels(ImageOps.fit(read_photo(path), (asked.size, asked.size))) for path in files])
    prompts = asked.prompt or generator.known.some()
    rows = {"photo": photos} | {prompt: generator(prompt, asked.seed).translate(photos) for prompt in prompts}
    grid(rows, [path.stem for path in files], asked.out, "from words alone, no training")
    print(f"{len(prompts)} prompts by {len(files)} photos: {asked.out}")
    return 0


def generate(asked: Namespace) -> int:
    made = translators(asked)
    for name, translator in made.items():
        folder = _place(asked.out, name, several=len(made) > 1)
        translator.save(folder)
        print(f"{name}: {folder}")
    return 0


def fit_to_pairs(asked: Namespace) -> int:
    """`weightgen adapt`."""
    pairs, generator = pairs_in(asked.pairs), loaded(asked.generator)
    with tqdm(total=100, unit="%", disable=None) as bar:
        translator = adapt(
            generator,
            asked.prompt,
            pairs,
            asked.seconds,
            asked.seed,
            asked.steps,
            progress=lambda done: bar.update(int(100 * done) - bar.n),
        )
    translator.save(asked.out)
    print(f"{asked.prompt}, from {len(pairs)} pairs: {asked.out}")
    return 0


def export(asked: Namespace) -> int:
    formats = asked.format.split(",")
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise DataError(f"--format={','.join(unknown)}: choose some of {','.join(FORMATS)}")
    made = translators(asked)
    for name, translator in made.items():
        for form in formats:
            folder = _place(asked.out, name, several=len(made) > 1) / form
            difference = EXPORTS[form](translator, folder)
            print(f"{form}: {folder}, at most {difference:.3g} of 255 from this program's own pictures")
    return 0


def info(asked: Namespace) -> int:
    folder = Path(asked.folder) if asked.folder else SHIPPED
    if (folder / FILE).exists():
        translator = Translator.load(folder)
        print(f"a translator of {translator.prompt!r}, for pictures of any size")
        print(f"network: {dict(translator.description)}; base: {translator.base[:16]}")
        return 0
    generator = WeightGenerator.load(folder)
    sizes = {"base": generator.base, "denoiser": generator.blocks.denoiser, "refiner": generator.refiner}
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in sizes.items() if net is not None}
    print(f"a weight generator in {folder}")
    print("parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    print(f"a LoRA: {generator.blocks.layout.weights:,} weights in {generator.blocks.layout.blocks} blocks")
    print(f"base: {generator.base_hash[:16]}, trained at {generator.side} px")
    print(f"words it knows: {', '.join(sorted(generator.known.words))}")
    print("prompts it was trained on:", *(f"  {prompt}" for prompt in generator.known.prompts), sep="\n")
    card = folder / "README.md"
    if card.exists():
        print(f"card: {card}", file=sys.stderr)
    return 0


def _place(out: str, prompt: str, several: bool) -> Path:
    folder = Path(out) / slug(prompt) if several else Path(out)
    if folder.is_file():
        raise DataError(f"--out={folder} is a file: it must be a folder")
    return folder

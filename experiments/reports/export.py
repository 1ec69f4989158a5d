"""The weight generator of a comparison as a folder that `WeightGenerator.load` needs nothing else for, and its card."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill

from experiments.pipeline.build import Pipeline
from experiments.pipeline.stage import Inputs
from experiments.reports.comparison import Comparison
from experiments.reports.markdown import estimate, method_cell, number, provenance_lines, render, shown, verdict, words
from experiments.stages.denoiser import block_generator
from experiments.training.payloads import load_base, load_net, text_encoder
from experiments.training.provenance import provenance
from weightgen.evaluation.methods import OURS
from weightgen.files import read_json, replacing_folder
from weightgen.generation import REFINERS
from weightgen.generation.generator import SHIPPED, WeightGenerator
from weightgen.generation.known import Known

COLUMNS = {
    "method": lambda row: method_cell(row["method"], row["method"] == OURS),
    "L1 start": shown("l1_start", ".4f"),
    "gap closed": lambda row: estimate(row, "gap_closed"),
    "FID start": shown("fid_start", ".4g"),
    "FID end": shown("fid_end", ".4g"),
}
HEAD = """\
---
license: mit
library_name: weightgen
tags: [hypernetwork, lora, image-to-image, weight-generation]
---

# A weight generator: {recipe}

Words in, a LoRA for an image translator out, in one denoising step: "Efficient Training with Denoised Neural Weights"
(arXiv 2407.11966), as the program weightgen has it.

    from weightgen.generation.generator import WeightGenerator

    translator = WeightGenerator.load("<this folder>")("{example}")
    translator("photo.jpg").save("out.png")
"""
LIMITS = """\
## What it cannot do

- It was trained on {prompts} prompts, such as "{first}"
  and "{last}".
- Of new combinations of their words it makes something useful; for words that none of them holds, words alone help
  little (the table above), and it warns.
- It was trained at {size} px: in a larger picture, strokes, dots and tiles stay as small as they are there.
- It changes how a photo is drawn and coloured, not what is in it.
"""
UNSCORED = "Nobody has measured how good it is: `make evaluate` compares it with its rivals and writes the table here."
WIDTH = 118


def export_generator(pipeline: Pipeline, comparison: Comparison, folder: Path) -> None:
    """`WeightGenerator.load(folder)` needs nothing else. With the refiner where a method of the comparison has one."""
    guided = any("guide" in pipeline.init_class(method).needs for method in pipeline.methods)
    generator = weight_generator(pipeline, guided)
    told = card(comparison, generator.known.prompts, pipeline.options("photos.size"))
    with replacing_folder(folder) as aside:
        replace(generator, card=told).save(aside)


def export_unscored(pipeline: Pipeline, folder: Path) -> None:
    """The same before any comparison: its card has no figures."""
    generator = weight_generator(pipeline)
    parts = [HEAD.format(recipe=pipeline.cfg.recipe, example=generator.known.prompts[0]), UNSCORED]
    with replacing_folder(folder) as aside:
        replace(generator, card="\n\n".join(part.rstrip() for part in parts) + "\n").save(aside)


def weight_generator(pipeline: Pipeline, guided: bool = False) -> WeightGenerator:
    """That of finished artifacts. guided: with its refiner."""
    options, network = pipeline.options, pipeline.artifact(pipeline.generator)
    base = pipeline.artifact(pipeline.base_spec)
    parts = Inputs([network, pipeline.artifact(pipeline.blocks)])
    encoder, steps = options("text_encoder"), options("sampler.steps")
    description = {
        "translator": {"period": options("photos.size")} | read_json(base.folder / "generator.json"),
        "denoiser": read_json(network.folder / "denoiser.json"),
        "text_encoder": encoder,
        "lora": options("lora"),
        "prediction": network.config["prediction"],
        "steps": steps,
    }
    net, refiner = load_base(base), None
    net.period = description["translator"]["period"]
    if guided:
        guide = pipeline.artifact(pipeline.guide).folder
        description["refiner"] = read_json(guide / "refiner.json")
        refiner = load_net(REFINERS, guide, "refiner")
    texts, prompts = text_encoder(encoder), [concept.prompt for concept in pipeline.shown]
    known = Known(prompts, texts.encode(prompts).pooled)
    return WeightGenerator(net, block_generator(parts, steps), texts, description, known, refiner)


def card(comparison: Comparison, prompts: Sequence[str], size: int) -> str:
    """The model card: use, figures, what they rest on, limits, licence."""
    parts = [HEAD.format(recipe=comparison.recipe, example=prompts[0]), "## How good it is"]
    trained = bool(comparison.races)  # else the end is the start
    columns = {name: cell for name, cell in COLUMNS.items() if trained or name != "FID end"}
    for base, split in comparison.groups:
        rows = [row for row in comparison.summary if (row["base"], row["split"]) == (base, split)]
        parts += [fill(verdict(comparison, (base, split)), WIDTH), render(columns, rows)]
    told = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items() if version)
    changed = " with local changes" if told["changed"] else ""
    splits = ", ".join(words(split) for _, split in comparison.groups)
    parts += [
        LIMITS.format(prompts=number(len(prompts), "d"), first=prompts[0], last=prompts[-1], size=size).rstrip(),
        "## How it was made",
        "\n".join(
            fill(line, WIDTH, subsequent_indent="  ")
            for line in [
                *provenance_lines(comparison),
                *(f"- {note}" for note in comparison.notes),
                f"- splits: {splits}; intervals: 95 %, bootstrap over concepts",
                *([f"- commit {told['commit']}{changed}"] if told["commit"] else []),
                f"- {versions}",
            ]
        ),
        "## Licence",
        "MIT, code and weights. No photo is in it.",
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def ship(folder: Path) -> None:
    """The generator of a comparison becomes the one that comes with the package: half precision, with its card."""
    with replacing_folder(SHIPPED) as aside:
        WeightGenerator.load(folder).save(aside, half=True)
    total = sum(file.stat().st_size for file in SHIPPED.iterdir())
    print(f"{folder} -> {SHIPPED}, {total:,} bytes", file=sys.stderr)

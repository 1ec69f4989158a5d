"""From finished runs to their Comparison: the one place where reports read the pipeline and its store."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from experiments.pipeline.build import Pipeline
from experiments.reports.comparison import Built, Comparison, Output, Sample, compare
from experiments.reports.runs import evaluations, run_specs
from experiments.reports.stages import stage_nodes
from experiments.stages.lora import summarise
from experiments.training.payloads import load_blocks, tensors
from weightgen.data.concepts.concept import Concept
from weightgen.evaluation.cost import cost_table
from weightgen.evaluation.methods import OURS
from weightgen.evaluation.novelty import novelty
from weightgen.evaluation.results import Table

SHOWN_CONCEPTS = 8


def comparison_of(pipelines: Sequence[Pipeline], rows: Table, folder: Path) -> Comparison:
    """The whole comparison of finished runs, one pipeline a base. rows: `finished_rows`; folder:
    reports/<recipe>."""
    comparison = compare(pipelines[0].cfg.recipe, rows)
    return replace(
        comparison,
        novelty=[row for pipeline in pipelines for row in novelty_rows(pipeline)],
        cost=[row for pipeline in pipelines for row in cost_rows(pipeline, comparison.races)],
        config=OmegaConf.to_yaml(pipelines[0].cfg, resolve=True),
        notes=tuple(notes(pipelines)),
        **references(pipelines, folder),
    )


def references(pipelines: Sequence[Pipeline], folder: Path) -> dict[str, Any]:
    """samples, zoo, generator, generated and stages of what is finished; images and weights are those of the first base.

    folder: reports/<recipe>, which has the exported generator.
    """
    pipeline = pipelines[0]
    store, blocks = pipeline.store, pipeline.blocks
    inits = [
        pipeline.init(OURS, concept, seed)
        for concept in pipeline.test_concepts
        for seed in pipeline.cfg.seeds
        if OURS in pipeline.methods
    ]
    return {
        "samples": tuple(samples(pipeline)),
        "zoo": Built(blocks, store.require(blocks)) if store.has(blocks) else None,
        "generator": Built(pipeline.generator, folder / "generator") if (folder / "generator").is_dir() else None,
        "generated": tuple(store.require(init) / "lora.safetensors" for init in inits if store.has(init)),
        "stages": tuple(stage_nodes(pipelines, [spec for p in pipelines for spec in run_specs(p)])),
    }


def shown_concepts(pipeline: Pipeline) -> list[Concept]:
    """Those whose images are shown, an equal share of each split."""
    share = max(1, SHOWN_CONCEPTS // len(pipeline.splits))
    return [concept for split in pipeline.splits for concept in pipeline.split(split)[:share]]


def samples(pipeline: Pipeline) -> list[Sample]:
    """A test photo of each shown concept, those that have finished runs (of the first seed)."""
    store, seed = pipeline.store, pipeline.cfg.seeds[0]
    found = []
    for number, concept in enumerate(shown_concepts(pipeline)):
        specs = {method: pipeline.finetune(method, concept, seed) for method in pipeline.methods}
        outputs = tuple(
            Output(method, spec.config["budget"]["steps"], store.require(spec) / "samples.safetensors")
            for method, spec in specs.items()
            if store.has(spec)
        )
        if not outputs or not store.has(pipeline.pairs(concept)):
            continue
        folder = store.require(pipeline.pairs(concept))
        photos = folder / "sources.safetensors"  # of a concept that has photos of its own
        photos = photos if photos.exists() else store.require(pipeline.photos) / "photos.safetensors"
        targets = folder / "targets.safetensors"
        photo = number % min(4, len(tensors(targets)["test"]))
        found.append(Sample(concept.name, concept.prompt, concept.split, seed, photo, photos, targets, outputs))
    return found


def novelty_rows(pipeline: Pipeline) -> Table:
    """Every initial weight set that is not the base's zero, against the zoo, in the normaliser's units; [] where no
    method is built on the zoo.

    weight_error: |set - own|^2 / |mean - own|^2 with the concept's own trained set, 1 being the mean's error; a
    diagnostic, as weight error does not rank methods.
    """
    inits = {method: pipeline.init_class(method) for method in pipeline.methods}
    if not any(init.rests_on_zoo() for init in inits.values()):
        return []
    store, concepts = pipeline.store, pipeline.test_concepts
    zoo, layout, normalizer = load_blocks(store.require(pipeline.blocks))
    valid = layout.valid()
    train = normalizer.normalize(zoo.blocks)[:, valid].numpy()

    def flat(folder: Path) -> np.ndarray:
        state = tensors(folder / "lora.safetensors")
        return normalizer.normalize(layout.to_blocks(state))[valid].numpy()

    loras = {concept.name: pipeline.lora(concept) for concept in concepts}
    trained = {name: flat(store.require(spec)) for name, spec in loras.items() if store.has(spec)}
    names, train_names = [concept.name for concept in concepts], [entry.concept for entry in zoo.entries]
    table: Table = []
    for method in [name for name, init in inits.items() if init.has_novelty()]:
        for seed in pipeline.cfg.seeds:
            sets = np.stack([flat(store.require(pipeline.init(method, concept, seed))) for concept in concepts])
            rows = novelty(sets, train, names, train_names, method)
            for row, concept, weights in zip(rows, concepts, sets, strict=True):
                start = evaluations(pipeline, pipeline.finetune(method, concept, seed))[0]
                head = {"base": pipeline.cfg.base, "split": concept.split, "seed": seed}
                error = _weight_error(weights, trained.get(concept.name), train.mean(0))
                table.append(head | row | {"fid_start": start["fid"], "l1_start": start["l1"], "weight_error": error})
    return table


def _weight_error(weights: np.ndarray, own: np.ndarray | None, mean: np.ndarray) -> float | None:
    if own is None:
        return None
    return float(np.square(weights - own).sum() / np.square(mean - own).sum())


def stage_seconds(pipeline: Pipeline) -> dict[str, float]:
    """What was spent once, before any new concept: seconds on this device, summed over processes."""
    store, generator = pipeline.store, pipeline.generator
    networks = {pipeline.denoiser, generator}  # one and the same without function-space training
    guided = any("guide" in pipeline.init_class(method).needs for method in pipeline.methods)
    return {
        "pairs_seconds": sum(store.metrics(pipeline.pairs(c))["seconds"] for c in pipeline.split("train")),
        "base_seconds": store.metrics(pipeline.base_spec)["seconds"],
        "zoo_seconds": sum(store.metrics(lora)["seconds"] for lora in pipeline.blocks.inputs if lora.stage == "lora"),
        "denoiser_seconds": sum(store.metrics(network)["seconds"] for network in networks),
        "guide_seconds": store.metrics(pipeline.guide)["seconds"] if guided else 0.0,
    }


def cost_rows(pipeline: Pipeline, races: Table) -> Table:
    """Break-even of `generated` against every rival, per split and target, in seconds to the same FID."""
    base = pipeline.cfg.base
    groups = sorted({(row["split"], row["target"]) for row in races if (row["base"], row["method"]) == (base, OURS)})
    spent = stage_seconds(pipeline) if groups else {}
    table: Table = []
    for split, target in groups:
        chosen = {
            row["method"]: row["seconds_to_target"]
            for row in races
            if (row["base"], row["split"], row["target"]) == (base, split, target)
        }
        fixed = {
            method: sum(spent[f"{stage}_seconds"] for stage in pipeline.init_class(method).groundwork())
            for method in chosen
        }
        head = {"base": base, "split": split, "target": target}
        table += [head | row | spent for row in cost_table(OURS, fixed, chosen)]
    return table


def zoo_metrics(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """The metrics of each train concept's LoRA."""
    return {concept.name: pipeline.store.metrics(pipeline.lora(concept)) for concept in pipeline.split("train")}


def notes(pipelines: Sequence[Pipeline]) -> list[str]:
    """What a reader of the figures has to know: the zoo's quality, whose photos, which clock."""
    pipeline, cfg = pipelines[0], pipelines[0].cfg
    lines = [
        f"{p.cfg.base} base: {summarise(zoo_metrics(p))}."
        for p in pipelines
        if any(p.init_class(method).rests_on_zoo() for method in p.methods)
    ]
    if pipeline.premade is None:
        names = json.loads((pipeline.store.require(pipeline.photos) / "names.json").read_text())
        lines += [names["attribution"]] if names["attribution"] else []
    clock = cfg.budget.finetune.clock
    return [*lines, f"`train_seconds` runs on the {clock} clock, {cfg.strategy.threads} thread(s) a process."]

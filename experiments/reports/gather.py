"""From finished runs to their Comparison: the one place where reports read the pipeline and its store."""

import json
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.build import Pipeline
from experiments.reports.comparison import Built, Comparison, Output, Sample, compare
from experiments.reports.runs import evaluations, run_specs
from experiments.reports.stages import stage_nodes
from experiments.stages.lora import summarise
from experiments.training.payloads import load_blocks, tensors
from weightgen.artifacts import Spec, Store
from weightgen.data.concepts.concept import Concept
from weightgen.evaluation.cost import cost_table
from weightgen.evaluation.methods import OURS
from weightgen.evaluation.novelty import novelty, spread
from weightgen.evaluation.results import Table
from weightgen.files import read_json
from weightgen.network import public_address

SHOWN_CONCEPTS = 8
PARTS = {  # of what ours spends once -> its stages
    "pairs": ("pairs",),
    "base": ("base",),
    "zoo": ("lora", "adapter", "blocks"),
    "denoiser": ("denoiser", "function"),
    "guide": ("guide",),
}


def comparison_of(pipelines: Sequence[Pipeline], rows: Table, folder: Path) -> Comparison:
    """The whole comparison of finished runs, one pipeline a base. rows: `finished_rows`; folder:
    reports/<recipe>."""
    comparison = compare(pipelines[0].cfg.recipe, rows)
    return replace(
        comparison,
        novelty=[row for pipeline in pipelines for row in novelty_rows(pipeline)],
        cost=[row for pipeline in pipelines for row in cost_rows(pipeline, comparison.races)],
        config=public_yaml(pipelines[0].cfg),
        notes=tuple(notes(pipelines)),
        **references(pipelines, folder),
    )


def public_yaml(cfg: DictConfig) -> str:
    """The configuration, resolved, without the password that an address from the environment may hold."""
    content = OmegaConf.to_container(cfg, resolve=True)
    if address := content.get("concepts", {}).get("base_url"):
        content["concepts"]["base_url"] = public_address(str(address))
    return OmegaConf.to_yaml(OmegaConf.create(content))


def references(pipelines: Sequence[Pipeline], folder: Path) -> dict[str, Any]:
    """samples, zoo, generator, generated and stages of what is finished; images and weights are those of the first base.

    folder: reports/<recipe>, where the generator is exported to.
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
        "generator": Built(pipeline.generator, folder / "generator") if OURS in pipeline.methods else None,
        "generated": tuple(store.require(init) / "lora.safetensors" for init in inits if store.has(init)),
        "stages": tuple(stage_nodes(pipelines, [spec for p in pipelines for spec in run_specs(p)])),
    }


def shown_concepts(pipeline: Pipeline) -> list[Concept]:
    """Those whose images are shown, an equal share of each split."""
    share = max(1, SHOWN_CONCEPTS // len(pipeline.splits))
    return [concept for split in pipeline.splits for concept in pipeline.split(split)[:share]]


def samples(pipeline: Pipeline) -> list[Sample]:
    """A scored photo of each shown concept, those that have finished runs (of the first seed)."""
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
        photo, part = number % len(tensors(outputs[0].path)["rows"]), pipeline.cfg.scored
        found.append(Sample(concept.name, concept.prompt, concept.split, seed, part, photo, photos, targets, outputs))
    return found


def novelty_rows(pipeline: Pipeline) -> Table:
    """Every initial weight set that is not the base's zero, against the zoo, in the normaliser's units; [] where no
    method is built on the zoo.

    seed_distance: to the set of the next seed, the same prompt from another noise; None with one seed.
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
        by_seed = {
            seed: np.stack([flat(store.require(pipeline.init(method, concept, seed))) for concept in concepts])
            for seed in pipeline.cfg.seeds
        }
        for seed, other in zip(by_seed, [*by_seed][1:] + [*by_seed][:1], strict=True):
            rows = novelty(by_seed[seed], train, names, train_names, method)
            apart = np.linalg.norm(by_seed[seed] - by_seed[other], axis=1) / spread(train)
            for row, concept, weights, far in zip(rows, concepts, by_seed[seed], apart, strict=True):
                start = evaluations(pipeline, pipeline.finetune(method, concept, seed))[0]
                head = {"base": pipeline.cfg.base, "split": concept.split, "seed": seed}
                row["seed_distance"] = float(far) if other != seed else None
                error = _weight_error(weights, trained.get(concept.name), train.mean(0))
                table.append(head | row | {"fid_start": start["fid"], "l1_start": start["l1"], "weight_error": error})
    return table


def _weight_error(weights: np.ndarray, own: np.ndarray | None, mean: np.ndarray) -> float | None:
    if own is None:
        return None
    return float(np.square(weights - own).sum() / np.square(mean - own).sum())


def spent_once(init: Spec, new: Container[Any], store: Store) -> dict[str, float]:
    """Seconds, by stage, of everything that an initialisation is made from but for what is of a new concept (its pairs, its
    own LoRA): the closure of its inputs in the graph. A base is charged the pairs that it learned from, which its builder
    chose among its inputs. new: the subjects of new concepts' artifacts.
    """
    spent: dict[str, float] = {}
    seen: set[Spec] = set()
    waiting = list(init.inputs)
    while waiting:
        spec = waiting.pop()
        if spec in seen or spec.subject in new:
            continue
        seen.add(spec)
        spent[spec.stage] = spent.get(spec.stage, 0.0) + store.metrics(spec).get("seconds", 0.0)
        used = {each["key"] for each in read_json(store.require(spec) / "inputs.json")}
        waiting += [source for source in spec.inputs if source.stage != "pairs" or source.key in used]
    return spent


def spent_by(pipeline: Pipeline, method: str) -> dict[str, float]:
    """`spent_once` of a method; nothing for one that starts from scratch."""
    init = pipeline.init(method, pipeline.test_concepts[0], pipeline.cfg.seeds[0])
    return spent_once(init, pipeline.test_concepts, pipeline.store) if init else {}


def cost_rows(pipeline: Pipeline, races: Table) -> Table:
    """Break-even of `generated` against every rival, per split and target, in seconds to the same FID."""
    base = pipeline.cfg.base
    groups = sorted({(row["split"], row["target"]) for row in races if (row["base"], row["method"]) == (base, OURS)})
    spent = spent_by(pipeline, OURS) if groups else {}
    parts = {f"{part}_seconds": sum(spent.get(stage, 0.0) for stage in stages) for part, stages in PARTS.items()}
    table: Table = []
    for split, target in groups:
        chosen = {
            row["method"]: row["seconds_to_target"]
            for row in races
            if (row["base"], row["split"], row["target"]) == (base, split, target)
        }
        fixed = {method: sum(spent_by(pipeline, method).values()) for method in chosen}
        head = {"base": base, "split": split, "target": target}
        table += [head | row | parts for row in cost_table(OURS, fixed, chosen)]
    return table


def zoo_metrics(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """The metrics of each LoRA of the zoo."""
    return {concept.name: pipeline.store.metrics(pipeline.lora(concept)) for concept in pipeline.zoo}


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
    shared = f"; up to {cfg.fleet.size} runs shared a process, each charged for its steps" if cfg.fleet.size > 1 else ""
    return [*lines, f"`train_seconds` runs on the {clock} clock, {cfg.strategy.threads} thread(s) a process{shared}."]

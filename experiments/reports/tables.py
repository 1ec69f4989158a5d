"""What `evaluate` writes into reports/<recipe>/ once every run is finished."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor

from experiments.pipeline.load import find, load_blocks, pair_tensors, tensors
from experiments.pipeline.build import Pipeline
from experiments.stages.lora import summarise
from weightgen.artifacts import Spec
from weightgen.data.concepts.sources import Concept
from weightgen.evaluation.compare import wins, write_wins
from weightgen.evaluation.cost import COST_COLUMNS, cost_table
from weightgen.evaluation.methods import FROM_PAIRS, OURS
from weightgen.evaluation.novelty import NOVELTY_COLUMNS, novelty
from weightgen.evaluation.plots import curves, grid
from weightgen.evaluation.races import races, write_races
from weightgen.evaluation.report import report
from weightgen.evaluation.results import write_results, write_table
from weightgen.evaluation.scatter import novelty_scatter
from weightgen.evaluation.summary import summarize, write_summary

GRID_CONCEPTS = 8
FIXED = ("pairs_seconds", "base_seconds", "zoo_seconds", "denoiser_seconds", "guide_seconds")
Rows = list[dict[str, Any]]


def shown_concepts(pipeline: Pipeline) -> list[Concept]:
    """Those whose images are shown, an equal share of each split."""
    share = max(1, GRID_CONCEPTS // len(pipeline.splits))
    return [concept for split in pipeline.splits for concept in pipeline.split(split)[:share]]


def contact_sheet(pipeline: Pipeline) -> tuple[dict[str, Tensor], list[str]]:
    """Rows source, target, each method at step 0 and at the end; a column per concept of `shown_concepts`."""
    cfg, shown = pipeline.cfg, shown_concepts(pipeline)
    rows: dict[str, list[Tensor]] = {}
    for number, concept in enumerate(shown):
        photos, targets = pair_tensors(pipeline, concept)
        sample = number % min(4, len(photos["test"]))
        rows.setdefault("photo", []).append(photos["test"][sample])
        rows.setdefault("target", []).append(targets["test"][sample])
        for method in pipeline.methods:
            spec = pipeline.finetune(method, concept, cfg.seeds[0])
            samples = tensors(pipeline.store.require(spec) / "samples.safetensors")
            rows.setdefault(f"{method}, step 0", []).append(samples["start"][sample])
            if steps := spec.config["budget"]["steps"]:
                rows.setdefault(f"{method}, step {steps}", []).append(samples["end"][sample])
    return {name: torch.stack(images) for name, images in rows.items()}, [concept.prompt for concept in shown]


def novelty_rows(pipeline: Pipeline) -> Rows:
    """Every initial weight set of a method built on the zoo, against the zoo, in the normaliser's units.

    weight_error: |set - own|^2 / |mean - own|^2 with the concept's own trained set, 1 being the mean's error; a
    diagnostic, as weight error does not rank methods (DESIGN).
    """
    zoo, layout, normalizer = load_blocks(pipeline.store.require(pipeline.blocks))
    valid = layout.valid()
    train = normalizer.normalize(zoo.blocks)[:, valid].numpy()

    def flat(folder: Path) -> np.ndarray:
        state = tensors(folder / "lora.safetensors")
        return normalizer.normalize(layout.to_blocks(state))[valid].numpy()

    loras = {concept.name: pipeline.lora(concept) for concept in pipeline.test_concepts}
    own = {name: flat(pipeline.store.require(s)) for name, s in loras.items() if pipeline.store.has(s)}
    table: Rows = []
    for method in pipeline.methods:
        if pipeline.init_class(method).needs in ("scratch", "base"):
            continue
        for seed in pipeline.cfg.seeds:
            specs = [pipeline.init(method, concept, seed) for concept in pipeline.test_concepts]
            sets = np.stack([flat(pipeline.store.require(spec)) for spec in specs])
            rows = novelty(
                sets,
                train,
                [concept.name for concept in pipeline.test_concepts],
                [entry.concept for entry in zoo.entries],
                method,
            )
            for row, concept, weights in zip(rows, pipeline.test_concepts, sets, strict=True):
                start = _evaluations(pipeline, pipeline.finetune(method, concept, seed))[0]
                head = {"base": pipeline.cfg.base, "split": concept.split, "seed": seed}
                error = _weight_error(weights, own.get(concept.name), train.mean(0))
                scores = {"fid_start": start["fid"], "l1_start": start["l1"], "weight_error": error}
                table.append(head | row | scores)
    return table


def _weight_error(weights: np.ndarray, own: np.ndarray | None, mean: np.ndarray) -> float | None:
    if own is None:
        return None
    return float(np.square(weights - own).sum() / np.square(mean - own).sum())


def _evaluations(pipeline: Pipeline, spec: Spec) -> Rows:
    return json.loads((pipeline.store.require(spec) / "rows.json").read_text())


def stage_seconds(pipeline: Pipeline) -> dict[str, float]:
    """What was spent once, before any new concept: seconds on this device, summed over processes."""
    store, generator = pipeline.store, pipeline.generator
    blocks, base = find(generator, "blocks"), find(generator, "base")
    networks = {generator, find(generator, "denoiser")}  # one and the same without function-space training
    guided = any(pipeline.init_class(method).needs == "guide" for method in pipeline.methods)
    return {
        "pairs_seconds": sum(store.metrics(pipeline.pairs(c))["seconds"] for c in pipeline.split("train")),
        "base_seconds": store.metrics(base)["seconds"],
        "zoo_seconds": sum(store.metrics(lora)["seconds"] for lora in blocks.inputs),
        "denoiser_seconds": sum(store.metrics(network)["seconds"] for network in networks),
        "guide_seconds": store.metrics(pipeline.guide)["seconds"] if guided else 0.0,
    }


def cost_rows(pipeline: Pipeline, race_table: Rows) -> Rows:
    """Break-even of `generated` against every rival, per split and target, in seconds to the same FID."""
    spent = stage_seconds(pipeline)
    base_only = spent["pairs_seconds"] + spent["base_seconds"]
    zoo = base_only + spent["zoo_seconds"]
    generator = zoo + spent["denoiser_seconds"]
    by_need = dict.fromkeys(("base", "pairs", "lora"), base_only) | {"scratch": 0.0}
    by_need |= dict.fromkeys(("denoiser", "generator_and_pairs"), generator)
    by_need |= {"guide": generator + spent["guide_seconds"]}
    table: Rows = []
    groups = {(row["split"], row["target"]) for row in race_table if row["base"] == pipeline.cfg.base}
    for split, target in sorted(groups):
        chosen = {
            row["method"]: row["seconds_to_target"]
            for row in race_table
            if (row["base"], row["split"], row["target"]) == (pipeline.cfg.base, split, target)
        }
        if OURS not in chosen:
            continue
        fixed = {method: by_need.get(pipeline.init_class(method).needs, zoo) for method in chosen}
        head = {"base": pipeline.cfg.base, "split": split, "target": target}
        table += [head | row | spent for row in cost_table(OURS, fixed, chosen)]
    return table


def write_reports(pipelines: list[Pipeline], rows: Rows, folder: Path) -> Rows:
    """Everything in reports/<recipe>/; returns the summary."""
    pipeline, cfg = pipelines[0], pipelines[0].cfg
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / "results.csv", rows)
    summary = summarize(rows)
    write_summary(folder / "summary.csv", summary)
    curves(rows, folder / "curves.png")
    images, columns = contact_sheet(pipeline)
    grid(images, columns, folder / "grid.png", title=f"{cfg.recipe}: unseen concepts, base {cfg.base}")
    race_table = races(rows)
    write_races(folder / "races.csv", race_table)
    win_table = wins(rows) if OURS in pipeline.methods else []
    write_wins(folder / "wins.csv", win_table)
    from_pairs = [method for method in FROM_PAIRS if method in pipeline.methods]
    write_wins(folder / "wins_from_pairs.csv", [row for method in from_pairs for row in wins(rows, method)])
    figures = {"FID against training seconds": "curves.png", "Images": "grid.png"}
    novel = [row for p in pipelines if _on_zoo(p) for row in novelty_rows(p)]
    write_table(
        folder / "novelty.csv",
        ("base", "split", "seed", *NOVELTY_COLUMNS, "fid_start", "l1_start", "weight_error"),
        novel,
    )
    if novel:
        novelty_scatter(novel, folder / "novelty.png")
        figures["Quality against novelty"] = "novelty.png"
    cost = [row for p in pipelines if OURS in p.methods for row in cost_rows(p, race_table)]
    write_table(folder / "cost.csv", ("base", "split", "target", *COST_COLUMNS, *FIXED), cost)
    notes = [f"{p.cfg.base} base: {summarise(p, p.split('train'))}." for p in pipelines if _on_zoo(p)]
    if pipeline.premade is None:
        names = json.loads((pipeline.store.require(pipeline.photos) / "names.json").read_text())
        notes += [names["attribution"]] if names["attribution"] else []
    clock = cfg.budget.finetune.clock
    notes.append(f"`train_seconds` runs on the {clock} clock, {cfg.strategy.threads} thread(s) a process.")
    report(
        folder / "report.md",
        rows,
        summary,
        OmegaConf.to_yaml(cfg, resolve=True),
        title=f"weightgen: {cfg.recipe}",
        figures=figures,
        wins=win_table,
        novelty=novel,
        cost=cost,
        notes=notes,
    )
    return summary


def _on_zoo(pipeline: Pipeline) -> bool:
    return any(pipeline.init_class(m).needs in ("blocks", "denoiser", "validation") for m in pipeline.methods)


def print_summary(summary: Rows, folder: Path) -> None:
    """The summary as a table on standard output."""
    shown = {
        "method": "method",
        "fid_start": "FID at 0",
        "fid_end": "FID at end",
        "l1_start": "L1 at 0",
        "l1_end": "L1 at end",
        "gap_closed": "gap closed",
        "seconds": "seconds",
        "speedup": "speed-up",
        "never_reached": "never",
    }
    console = Console(width=110)
    for base, split in dict.fromkeys((row["base"], row["split"]) for row in summary):
        table = Table(title=f"{split.replace('_', ' ')} (base: {base})")
        for column in shown.values():
            table.add_column(column, justify="left" if column == "method" else "right")
        for row in summary:
            if (row["base"], row["split"]) == (base, split):
                table.add_row(*(_cell(row[name]) for name in shown))
        console.print(table)
    print(f"tables, figures and images: {folder}/report.md", flush=True)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

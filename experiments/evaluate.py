"""Stage 8: every method on every unseen concept and seed, as tables, curves, images and one report. `make evaluate`."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from experiments._app import app
from experiments._load import image_metrics, pair_tensors, tensors
from experiments.generate_init import weight_generator
from experiments.pipeline import Pipeline, plain
from experiments.train_loras import summarise
from weightgen.artifacts import Spec
from weightgen.evaluation.methods import NO_BASE
from weightgen.evaluation.plots import curves, grid
from weightgen.evaluation.report import report
from weightgen.evaluation.results import write_results
from weightgen.evaluation.summary import summarize, write_summary

log = logging.getLogger(__name__)
GRID_CONCEPTS = 8


def device_name(cfg: DictConfig) -> str:
    """The device that fine-tuning ran on, as results.csv names it."""
    if cfg.strategy.trainer.accelerator == "gpu":
        return torch.cuda.get_device_name()
    return f"cpu x{cfg.strategy.threads}"


def run_specs(pipeline: Pipeline) -> list[Spec]:
    """One fine-tune per concept, seed and method, a concept's runs together."""
    return [
        pipeline.finetune(method, concept, seed)
        for concept in pipeline.test_concepts
        for seed in pipeline.cfg.seeds
        for method in pipeline.methods
    ]


def result_rows(pipeline: Pipeline, specs: list[Spec]) -> list[dict[str, Any]]:
    """results.csv rows of finished fine-tunes."""
    import json

    device, feature_set = device_name(pipeline.cfg), image_metrics(pipeline.cfg).features.name
    rows = []
    for spec in specs:
        method, concept, seed = spec.subject
        scratch = all(upstream.stage != "init" for upstream in spec.inputs)
        common = {
            "experiment": pipeline.cfg.recipe,
            "base": NO_BASE if scratch else pipeline.cfg.base,
            "concept": concept.name,
            "prompt": concept.prompt,
            "split": concept.split,
            "method": method,
            "seed": seed,
            "feature_set": feature_set,
            "device": device,
        }
        rows += [common | row for row in json.loads((pipeline.store.require(spec) / "rows.json").read_text())]
    return rows


def contact_sheet(pipeline: Pipeline) -> tuple[dict[str, Tensor], list[str]]:
    """Rows source, target, each method at step 0 and at the end; a column per concept, half of them of each split."""
    cfg = pipeline.cfg
    share = max(1, GRID_CONCEPTS // len(cfg.splits))
    shown = [concept for split in cfg.splits for concept in pipeline.split(split)[:share]]
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


def write_reports(
    pipelines: list[Pipeline], rows: list[dict[str, Any]], folder: Path
) -> list[dict[str, Any]]:
    """Everything in reports/<recipe>/; returns the summary."""
    pipeline, cfg = pipelines[0], pipelines[0].cfg
    folder.mkdir(parents=True, exist_ok=True)
    write_results(folder / "results.csv", rows)
    summary = summarize(rows)
    write_summary(folder / "summary.csv", summary)
    curves(rows, folder / "curves.png")
    images, columns = contact_sheet(pipeline)
    grid(images, columns, folder / "grid.png", title=f"{cfg.recipe}: unseen concepts, base {cfg.base}")
    notes = [f"{p.cfg.base} base: {summarise(p, p.split('train'))}." for p in pipelines if _has_zoo(p)]
    if attribution := _attribution(pipeline):
        notes.append(attribution)
    notes.append(
        f"`train_seconds` runs on the {cfg.budget.finetune.clock} clock, {cfg.strategy.threads} thread(s) a process."
    )
    report(
        folder / "report.md",
        rows,
        summary,
        OmegaConf.to_yaml(cfg, resolve=True),
        title=f"weightgen: {cfg.recipe}",
        figures={"FID against training seconds": "curves.png", "Images": "grid.png"},
        notes=notes,
    )
    return summary


def _has_zoo(pipeline: Pipeline) -> bool:
    return all(pipeline.store.has(pipeline.lora(concept)) for concept in pipeline.split("train"))


def _attribution(pipeline: Pipeline) -> str:
    import json

    return json.loads((pipeline.store.require(pipeline.photos) / "names.json").read_text())["attribution"]


def export_generator(pipeline: Pipeline, folder: Path) -> None:
    """`WeightGenerator.load(folder)` needs nothing else."""
    cfg = pipeline.cfg
    generator = weight_generator(pipeline)
    text_dim = {"text_dim": generator.encoder.dim}
    layout = generator.blocks.layout
    description = {
        "translator": plain(cfg.translator) | text_dim,
        "denoiser": plain(cfg.denoiser) | {"block_size": layout.size, "blocks": layout.blocks} | text_dim,
        "text_encoder": plain(cfg.text_encoder),
        "lora": plain(cfg.lora),
        "prediction": cfg.budget.denoiser.prediction,
        "steps": cfg.sampler.steps,
    }
    temporary = folder.with_name(f".{folder.name}.partial")
    generator.save(temporary, description)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def print_summary(summary: list[dict[str, Any]], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = (
        "base",
        "split",
        "method",
        "fid_start",
        "fid_end",
        "l1_start",
        "gap_closed",
        "seconds",
        "speedup",
        "never_reached",
    )
    table = Table(title="unseen concepts")
    for column in columns:
        table.add_column(column)
    for row in summary:
        cells = [row[column] for column in columns]
        table.add_row(
            *(
                f"{cell:.3g}" if isinstance(cell, float) else "" if cell is None else str(cell)
                for cell in cells
            )
        )
    Console(width=130).print(table)
    print(f"report: {folder}/report.md", flush=True)


@app
def main(cfg: DictConfig) -> None:
    pipelines = []
    rows: dict[tuple, dict[str, Any]] = {}
    for base in cfg.bases:
        variant = OmegaConf.merge(cfg, {"base": base})
        pipelines.append(Pipeline(variant))
        specs = run_specs(pipelines[-1])
        pipelines[-1].ensure_all(specs)
        for row in result_rows(pipelines[-1], specs):  # a run without a base is the same run under every base
            rows[row["base"], row["concept"], row["method"], row["seed"], row["step"]] = row
    folder = Path(cfg.paths.reports) / cfg.recipe
    summary = write_reports(pipelines, list(rows.values()), folder)
    if "generated" in pipelines[0].methods:
        export_generator(pipelines[0], folder / "generator")
    print_summary(summary, folder)


if __name__ == "__main__":
    main()

"""Stage 8: every method on every unseen concept and seed, as tables, curves, images and one report. `make evaluate`."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import find, image_metrics
from experiments.pipeline.options import plain
from experiments.reports.tables import print_summary, write_reports
from experiments.reports.wandb_runs import publish_comparison
from experiments.stages.init import weight_generator
from experiments.sweeps.jobs import withdraw
from weightgen.artifacts import Spec
from weightgen.evaluation.methods import NO_BASE
from weightgen.files import replacing_folder

log = logging.getLogger(__name__)


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


def base_of(spec: Spec) -> str:
    """The base that a fine-tune started from, as results.csv names it."""
    scratch = all(upstream.stage != "init" for upstream in spec.inputs)
    return NO_BASE if scratch else find(spec, "base").config["sees"]


def result_rows(pipeline: Pipeline, specs: list[Spec]) -> list[dict[str, Any]]:
    """results.csv rows of finished fine-tunes."""
    device, feature_set = device_name(pipeline.cfg), image_metrics(pipeline.cfg).features.name
    rows = []
    for spec in specs:
        method, concept, seed = spec.subject
        common = {
            "experiment": pipeline.cfg.recipe,
            "base": base_of(spec),
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
    with replacing_folder(folder) as aside:
        generator.save(aside, description)


def pipelines_of(cfg: DictConfig) -> list[Pipeline]:
    """One per base to report on."""
    return [Pipeline(OmegaConf.merge(cfg, {"base": base})) for base in cfg.bases]


def finished_rows(pipelines: list[Pipeline]) -> list[dict[str, Any]]:
    """results.csv rows of all bases, after building what is missing."""
    rows: dict[tuple, dict[str, Any]] = {}
    for pipeline in pipelines:
        specs = run_specs(pipeline)
        pipeline.ensure_all(specs)
        for row in result_rows(pipeline, specs):  # a run without a base is the same run under every base
            rows[row["base"], row["concept"], row["method"], row["seed"], row["step"]] = row
    withdraw()  # a job that evaluates is for its report
    return list(rows.values())


def evaluation(pipelines: list[Pipeline]) -> None:
    """Everything in reports/<recipe>/, after building what is missing, and the same in W&B."""
    cfg = pipelines[0].cfg
    rows = finished_rows(pipelines)
    folder = Path(cfg.paths.reports) / cfg.recipe
    summary = write_reports(pipelines, rows, folder)
    if "generated" in pipelines[0].methods:
        export_generator(pipelines[0], folder / "generator")
    publish_comparison(pipelines, folder)
    print_summary(summary, folder)


@app
def main(cfg: DictConfig) -> None:
    evaluation(pipelines_of(cfg))


if __name__ == "__main__":
    main()

"""The runs of a comparison: which there are, building what is missing, and their rows."""

import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.build import Pipeline
from experiments.sweeps.jobs import withdraw
from weightgen.artifacts import Spec
from weightgen.evaluation.methods import NO_BASE

RUNS = "runs.json"  # in reports/<recipe>: keys of the runs that it is about


def pipelines_of(cfg: DictConfig) -> list[Pipeline]:
    """One per base to report on."""
    return [Pipeline(OmegaConf.merge(cfg, {"base": base})) for base in cfg.bases]


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
    return NO_BASE if scratch else spec.upstream("base").config["sees"]


def device_name(pipeline: Pipeline, spec: Spec) -> str:
    """The device that a finished fine-tune ran on, as results.csv names it."""
    return json.loads((pipeline.store.require(spec) / "provenance.json").read_text())["device"]


def evaluations(pipeline: Pipeline, spec: Spec) -> list[dict[str, Any]]:
    """step, train_seconds and scores of each evaluation of a finished fine-tune."""
    return json.loads((pipeline.store.require(spec) / "rows.json").read_text())


def result_rows(pipeline: Pipeline, specs: list[Spec]) -> list[dict[str, Any]]:
    """results.csv rows of finished fine-tunes."""
    from experiments.training.payloads import image_metrics

    feature_set = image_metrics(pipeline.runtime.metrics).features.name
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
            "device": device_name(pipeline, spec),
        }
        rows += [common | row for row in evaluations(pipeline, spec)]
    return rows


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

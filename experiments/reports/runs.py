"""The runs of a comparison: which there are, building what is missing, and their rows."""

import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.build import Pipeline
from experiments.sweeps.jobs import withdraw
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept
from weightgen.evaluation.methods import FLOOR, NO_BASE

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
    rows = []
    for spec in specs:
        method, concept, seed = spec.subject
        common = common_of(pipeline, concept, method, seed, base_of(spec), device_name(pipeline, spec))
        rows += [common | row for row in evaluations(pipeline, spec)]
    return rows


def floor_rows(pipeline: Pipeline) -> list[dict[str, Any]]:
    """results.csv rows of the second draws of edits that vary, as if they were translators' outputs."""
    return [
        common_of(pipeline, concept, FLOOR, seed, NO_BASE, device_name(pipeline, spec))
        | {"step": 0, "train_seconds": 0.0, "collapsed": 0.0, **pipeline.store.metrics(spec)}
        for concept, spec in pipeline.floors().items()
        for seed in pipeline.cfg.seeds
    ]


def common_of(pipeline: Pipeline, concept: Concept, method: str, seed: int, base: str, device: str) -> dict[str, Any]:
    """What all rows of a run have in common."""
    from experiments.training.payloads import image_metrics

    return {
        "experiment": pipeline.cfg.recipe,
        "base": base,
        "concept": concept.name,
        "prompt": concept.prompt,
        "split": concept.split,
        "method": method,
        "seed": seed,
        "feature_set": image_metrics(pipeline.runtime.metrics).features.name,
        "device": device,
    }


def finished_rows(pipelines: list[Pipeline]) -> list[dict[str, Any]]:
    """results.csv rows of all bases, after building what is missing."""
    rows: dict[tuple, dict[str, Any]] = {}
    for pipeline in pipelines:
        specs = run_specs(pipeline)
        pipeline.ensure_all([*specs, *pipeline.floors().values()])
        found = [*result_rows(pipeline, specs), *floor_rows(pipeline)]
        for row in found:  # a run without a base is the same run under every base
            rows[row["base"], row["concept"], row["method"], row["seed"], row["step"]] = row
    withdraw()  # a job that evaluates is for its report
    return list(rows.values())

"""The comparison in W&B: three runs that hold the zoo, the weight generator and what came of them, with their lineage."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from omegaconf import DictConfig

from experiments.pipeline.load import pair_tensors
from experiments.training.wandb_run import describe_run, start_run
from experiments.reports.page.images import samples
from experiments.reports.page.stage_svg import stage_svg
from experiments.reports.page.stages import stage_nodes
from experiments.reports.page.tables import numbers, recipe_content
from experiments.reports.page.weights import BINS, layer_histograms, weight_sets
from experiments.pipeline.build import Pipeline
from experiments.reports.tables import shown_concepts
from weightgen.artifacts import Spec
from weightgen.files import write_json
from weightgen.evaluation.methods import label

PUBLISHED = ".wandb.json"  # in reports/<recipe>: which results are in W&B already
TABLES = ("summary", "wins", "races", "cost", "novelty")


def publish_comparison(pipelines: Sequence[Pipeline], folder: Path) -> bool:
    """Log reports/<recipe> and what it rests on; -> False where W&B is off or has these very results already."""
    pipeline, cfg = pipelines[0], pipelines[0].cfg
    if not cfg.logger.wandb or cfg.logger.mode == "disabled":
        return False
    results = hashlib.sha256((folder / "results.csv").read_bytes()).hexdigest()
    state = {"results": results, "project": cfg.logger.project, "mode": cfg.logger.mode}
    marker = folder / PUBLISHED
    if marker.exists() and json.loads(marker.read_text()) == state:
        return False
    made: list[str] = []
    if pipeline.store.has(pipeline.blocks):
        with _run(cfg, "zoo", pipeline.blocks, results) as run:
            log_weights(run, pipeline)
            zoo = pipeline.store.require(pipeline.blocks)
            made.append(log_files(run, f"zoo-{cfg.recipe}", "zoo", zoo, pipeline.blocks))
        if (folder / "generator").is_dir():
            with _run(cfg, "generator", pipeline.generator, results) as run:
                use(run, made)
                name = f"weight-generator-{cfg.recipe}"
                files = folder / "generator"
                made.append(log_files(run, name, "weight-generator", files, pipeline.generator))
    with _run(cfg, "comparison", None, results) as run:
        use(run, made)
        log_comparison(run, pipelines, folder)
    write_json(marker, state)
    return True


@contextmanager
def _run(cfg: DictConfig, kind: str, spec: Spec | None, results: str) -> Iterator[wandb.Run]:
    """A run of job type `kind`; the same results are the same run."""
    name = hashlib.sha256(f"{cfg.recipe} {cfg.logger.project} {kind} {results}".encode()).hexdigest()[:16]
    run = start_run(
        cfg,
        kind,
        name=f"{kind}/{cfg.recipe}",
        id=name,
        resume="allow" if cfg.logger.mode == "online" else None,
        tags=[kind, cfg.recipe[:64]],
        config={"recipe": cfg.recipe} if spec is None else describe_run(cfg, spec),
    )
    try:
        yield run
    finally:
        run.finish()


def use(run: wandb.Run, names: Sequence[str]) -> None:
    """Lineage: this run is made from these artifacts. W&B can say so only online; configs name the keys anyway."""
    if not run.offline:
        for name in names:
            run.use_artifact(name)


def log_files(run: wandb.Run, name: str, kind: str, folder: Path, spec: Spec) -> str:
    """The folder as a W&B artifact, in place: nothing is copied; -> its name with the key as its alias."""
    about = {"key": spec.key, "inputs": [source.reference() for source in spec.inputs][:64]}
    artifact = wandb.Artifact(name, type=kind, description=spec.label, metadata=about)
    artifact.add_dir(str(folder), policy="immutable", skip_cache=True)
    logged = run.log_artifact(artifact, aliases=["latest", spec.key])
    if not run.offline:
        logged.wait()
    return f"{name}:{spec.key}"


def log_weights(run: wandb.Run, pipeline: Pipeline) -> None:
    """Histograms of the zoo and of generated sets, one a layer."""
    values: dict[str, Any] = {}
    for layer in layer_histograms(*weight_sets(pipeline)):
        edges = [layer["range"] * (2 * i / BINS - 1) for i in range(BINS + 1)]
        for whose in ("zoo", "generated"):
            if layer[whose] is not None:
                histogram = wandb.Histogram(np_histogram=(layer[whose], edges))
                values[f"weights/{whose}/{layer['layer']}"] = histogram
    run.log(values)


def log_comparison(run: wandb.Run, pipelines: Sequence[Pipeline], folder: Path) -> None:
    """Tables per method and concept, curves of all methods in one chart, images with captions, novelty, stage graph."""
    content = recipe_content(folder, bootstrap=200)
    values: dict[str, Any] = {f"tables/{t}": table(numbers(folder / f"{t}.csv")) for t in TABLES}
    values["tables/concepts"] = table(content["per_concept"])
    values |= curve_charts(content)
    values |= method_images(pipelines[0])
    for name in ("curves", "grid", "novelty"):
        if (folder / f"{name}.png").exists():
            values[f"figures/{name}"] = wandb.Image(
                str(folder / f"{name}.png"), caption=f"{run.group}: {name}"
            )
    if content["novelty"]:
        chart = table(content["novelty"])
        title = "L1 at step 0 against the distance to the nearest training set"
        values["novelty"] = wandb.plot.scatter(chart, "nearest_distance", "l1_start", title=title)
    specs = [
        p.finetune(m, c, s)
        for p in pipelines
        for c in p.test_concepts
        for s in p.cfg.seeds
        for m in p.methods
    ]
    graph = stage_svg(stage_nodes(pipelines, specs))
    values["stages"] = wandb.Html(f"<!doctype html><body>{graph}</body>", inject=False)
    run.log({name: value for name, value in values.items() if value is not None})
    for row in content["summary"]:
        head = f"{row['base']}/{row['split']}/{row['method']}"
        run.summary.update(
            {f"{head}/{k}": row[k] for k in ("fid_start", "fid_end", "l1_start", "l1_end", "gap_closed")}
        )


def table(rows: Sequence[dict[str, Any]]) -> wandb.Table | None:
    """rows of equal keys as a W&B table; None where there are none."""
    if not rows:
        return None
    columns = list(rows[0])
    data = [[row[column] for column in columns] for row in rows]
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True)


def curve_charts(content: dict[str, Any]) -> dict[str, Any]:
    """One chart per base, split and metric with a line for each method that was fine-tuned."""
    charts = {}
    for base, split in content["groups"]:
        for metric in content["metrics"]:
            lines = [
                curve
                for curve in content["curves"]
                if (curve["base"], curve["split"], curve["metric"]) == (base, split, metric)
                and len(curve["points"]) > 1
            ]
            if lines:
                charts[f"curves/{base}/{split}/{metric}"] = wandb.plot.line_series(
                    [[point[1] for point in line["points"]] for line in lines],
                    [[point[2] for point in line["points"]] for line in lines],
                    keys=[label(line["method"]) for line in lines],
                    title=f"{metric} against training seconds, {split.replace('_', ' ')}, base {base}",
                    xname="training seconds",
                )
    return charts


def method_images(pipeline: Pipeline) -> dict[str, list[wandb.Image]]:
    """Photo and target, then each method's output at step 0 and at the end, captioned, a list per method."""
    images: dict[str, list[wandb.Image]] = {}

    def add(name: str, image: Any, caption: str) -> None:
        picture = wandb.Image(image.permute(1, 2, 0).numpy(), caption=caption)
        images.setdefault(f"images/{name}", []).append(picture)

    for number, concept in enumerate(shown_concepts(pipeline)):
        photos, targets = pair_tensors(pipeline, concept)
        sample = number % min(4, len(photos["test"]))
        add("photo", photos["test"][sample], f"{concept.prompt}: photo")
        add("target", targets["test"][sample], f"{concept.prompt}: target")
        for method in pipeline.methods:
            spec = pipeline.finetune(method, concept, pipeline.cfg.seeds[0])
            start, end = samples(pipeline, spec, sample)
            add(method, start, f"{concept.prompt}: {label(method)}, step 0")
            if end is not None:
                steps = spec.config["budget"]["steps"]
                add(method, end, f"{concept.prompt}: {label(method)}, step {steps}")
    return images

"""The comparison in W&B: three runs that hold the zoo, the weight generator and what came of them, with their lineage."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from omegaconf import DictConfig

from experiments.pipeline.options import plain
from experiments.pipeline.runtime import Logging, describe_run
from experiments.reports.comparison import Built, Comparison
from experiments.reports.images import pictures
from experiments.reports.page.stage_svg import stage_svg
from experiments.reports.weights import BINS, weight_histograms
from experiments.training.wandb_run import start_run
from weightgen.artifacts import Spec
from weightgen.errors import WeightgenError
from weightgen.evaluation.methods import label
from weightgen.files import read_json, write_json

log = logging.getLogger(__name__)
PUBLISHED = ".wandb.json"  # in reports/<recipe>: which results are in W&B already
TABLES = {"concepts": "per_concept"} | {name: name for name in ("summary", "wins", "races", "cost", "novelty")}


def publish_comparison(comparison: Comparison, cfg: DictConfig, folder: Path) -> bool:
    """Log a comparison and what it rests on; -> False where W&B is off or has these very results already.

    folder: reports/<recipe>, of which figures and results.csv are read.
    """
    if not cfg.logger.wandb or cfg.logger.mode == "disabled":
        return False
    results = hashlib.sha256((folder / "results.csv").read_bytes()).hexdigest()
    state = {"results": results, "project": cfg.logger.project, "mode": cfg.logger.mode}
    marker = folder / PUBLISHED
    if _published(marker) == state:
        return False
    logged: list[str] = []
    if comparison.zoo is not None:
        with _run(cfg, "zoo", comparison.zoo.spec, results) as run:
            log_weights(run, comparison)
            logged.append(log_files(run, f"zoo-{cfg.recipe}", "zoo", comparison.zoo))
    if comparison.generator is not None:
        with _run(cfg, "generator", comparison.generator.spec, results) as run:
            use(run, logged)
            name = f"weight-generator-{cfg.recipe}"
            logged.append(log_files(run, name, "weight-generator", comparison.generator))
    with _run(cfg, "comparison", None, results) as run:
        use(run, logged)
        log_comparison(run, comparison, folder)
    write_json(marker, state)
    return True


def _published(marker: Path) -> Any:
    """What a marker says; None without one, and, with a warning, where it is damaged."""
    try:
        return read_json(marker) if marker.exists() else None
    except WeightgenError as error:
        log.warning("%s; the comparison is logged again", error)
        return None


@contextmanager
def _run(cfg: DictConfig, kind: str, spec: Spec | None, results: str) -> Iterator[wandb.Run]:
    """A run of job type `kind`; the same results are the same run."""
    name = hashlib.sha256(f"{cfg.recipe} {cfg.logger.project} {kind} {results}".encode()).hexdigest()[:16]
    run = start_run(
        Logging(**plain(cfg.logger)),
        cfg.recipe,
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


def log_files(run: wandb.Run, name: str, kind: str, built: Built) -> str:
    """The folder as a W&B artifact, in place: nothing is copied; -> its name with the key as its alias."""
    spec = built.spec
    about = {"key": spec.key, "inputs": [source.reference() for source in spec.inputs][:64]}
    artifact = wandb.Artifact(name, type=kind, description=spec.label, metadata=about)
    artifact.add_dir(str(built.folder), policy="immutable", skip_cache=True)
    logged = run.log_artifact(artifact, aliases=["latest", spec.key])
    if not run.offline:
        logged.wait()
    return f"{name}:{spec.key}"


def log_weights(run: wandb.Run, comparison: Comparison) -> None:
    """Histograms of the zoo and of generated sets, one a layer."""
    values: dict[str, Any] = {}
    for layer in weight_histograms(comparison):
        edges = [layer["range"] * (2 * i / BINS - 1) for i in range(BINS + 1)]
        for whose in ("zoo", "generated"):
            if layer[whose] is not None:
                histogram = wandb.Histogram(np_histogram=(layer[whose], edges))
                values[f"weights/{whose}/{layer['layer']}"] = histogram
    run.log(values)


def log_comparison(run: wandb.Run, comparison: Comparison, folder: Path) -> None:
    """Tables per method and concept, curves of all methods in one chart, images with captions, novelty, stage graph."""
    values: dict[str, Any] = {f"tables/{name}": table(getattr(comparison, of)) for name, of in TABLES.items()}
    values |= curve_charts(comparison) | method_images(comparison)
    for name in ("curves", "grid", "novelty"):
        if (folder / f"{name}.png").exists():
            caption = f"{comparison.recipe}: {name}"
            values[f"figures/{name}"] = wandb.Image(str(folder / f"{name}.png"), caption=caption)
    if comparison.novelty:
        title = "L1 at step 0 against the distance to the nearest training set"
        chart = table(comparison.novelty)
        values["novelty"] = wandb.plot.scatter(chart, "nearest_distance", "l1_start", title=title)
    graph = stage_svg(comparison.stages)
    values["stages"] = wandb.Html(f"<!doctype html><body>{graph}</body>", inject=False)
    run.log({name: value for name, value in values.items() if value is not None})
    for row in comparison.summary:
        head = f"{row['base']}/{row['split']}/{row['method']}"
        scores = ("fid_start", "fid_end", "l1_start", "l1_end", "gap_closed")
        run.summary.update({f"{head}/{score}": row[score] for score in scores})


def table(rows: Sequence[dict[str, Any]]) -> wandb.Table | None:
    """rows of equal keys as a W&B table; None where there are none."""
    if not rows:
        return None
    columns = list(rows[0])
    data = [[row[column] for column in columns] for row in rows]
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True)


def curve_charts(comparison: Comparison) -> dict[str, Any]:
    """One chart per base, split and metric with a line for each method that was fine-tuned."""
    lines: dict[tuple, list[dict[str, Any]]] = {}
    for curve in comparison.curves:
        if len(curve["points"]) > 1:
            lines.setdefault((curve["base"], curve["split"], curve["metric"]), []).append(curve)
    return {
        f"curves/{base}/{split}/{metric}": wandb.plot.line_series(
            [[point.seconds for point in curve["points"]] for curve in curves],
            [[point.value for point in curve["points"]] for curve in curves],
            keys=[label(curve["method"]) for curve in curves],
            title=f"{metric} against training seconds, {split.replace('_', ' ')}, base {base}",
            xname="training seconds",
        )
        for (base, split, metric), curves in lines.items()
    }


def method_images(comparison: Comparison) -> dict[str, list[wandb.Image]]:
    """Photo and target, then each method's output at step 0 and at the end, captioned, a list per method."""
    images: dict[str, list[wandb.Image]] = {}
    for sample in comparison.samples:
        photo, target, outputs = pictures(sample)
        shown = [("photo", photo, "photo"), ("target", target, "target")]
        for method, steps, start, end in outputs:
            shown.append((method, start, f"{label(method)}, step 0"))
            shown += [] if end is None else [(method, end, f"{label(method)}, step {steps}")]
        for name, image, caption in shown:
            picture = wandb.Image(image.permute(1, 2, 0).numpy(), caption=f"{sample.prompt}: {caption}")
            images.setdefault(f"images/{name}", []).append(picture)
    return images

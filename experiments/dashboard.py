"""The comparison on one page, reports/dashboard/index.html, and with logger.mode=online a W&B report. `make dashboard`."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.evaluate import base_of, evaluation, pipelines_of, run_specs
from experiments.pipeline.build import Pipeline
from experiments.reports.page.images import image_grid
from experiments.reports.page.page import page, write_page
from experiments.reports.page.stage_svg import stage_svg
from experiments.reports.page.stages import StageNode, stage_nodes
from experiments.reports.page.tables import recipe_content, reported
from experiments.reports.page.weights import layer_histograms, weight_sets
from experiments.reports.wandb_report import connect, save_report
from experiments.reports.wandb_runs import publish_comparison
from weightgen.artifacts import Spec
from weightgen.errors import DataError
from weightgen.evaluation.results import read_results

log = logging.getLogger(__name__)


def reports_match(specs: list[Spec], folder: Path) -> bool:
    """Whether results.csv has exactly these runs: base, method, concept and seed."""
    try:
        rows = read_results(folder / "results.csv")
    except DataError:
        return False
    wanted = set()
    for spec in specs:
        method, concept, seed = spec.subject
        wanted.add((base_of(spec), method, concept.name, seed))
    return {(row["base"], row["method"], row["concept"], row["seed"]) for row in rows} == wanted


def other_recipes(reports: Path, own: Path) -> list[dict[str, Any]]:
    """What the reports of other recipes say; one that cannot be read is named and left out."""
    contents = []
    for folder in reported(reports):
        if folder.name == own.name:
            continue
        try:
            contents.append(recipe_content(folder))
        except DataError as error:
            log.warning("%s is left out: %s", folder.name, error)
    return contents


def plain_nodes(nodes: list[StageNode]) -> list[dict[str, Any]]:
    """Name and artifacts [label, key, state, seconds] of each part."""
    return [{"name": n.name, "artifacts": [list(a.values()) for a in n.artifacts]} for n in nodes]


def build_page(pipelines: list[Pipeline], specs: list[Spec], reports: Path) -> str:
    """HTML of this recipe in full, and of the tables and curves of others that have reports."""
    pipeline = pipelines[0]
    nodes = stage_nodes(pipelines, specs)
    recipe = recipe_content(reports / pipeline.cfg.recipe)
    recipe |= {
        "images": image_grid(pipeline),
        "weights": layer_histograms(*weight_sets(pipeline)),
        "stages": plain_nodes(nodes),
    }
    made = datetime.now().astimezone().strftime("on %Y-%m-%d at %H:%M %Z")
    content = {"recipes": [recipe, *other_recipes(reports, reports / pipeline.cfg.recipe)]}
    return page(content, stage_svg(nodes, style=""), made)


@app
def main(cfg: DictConfig) -> None:
    online = cfg.logger.wandb and cfg.logger.mode == "online"
    if online:
        connect()  # hours of training should not end in a missing login
    pipelines = pipelines_of(cfg)
    specs = [spec for pipeline in pipelines for spec in run_specs(pipeline)]
    reports = Path(cfg.paths.reports)
    if not reports_match(specs, reports / cfg.recipe):
        evaluation(pipelines)
    if absent := sum(not pipelines[0].store.has(spec) for spec in specs):
        log.warning(
            "%d of %d runs have no artifact here under these options: their images and weights are left out",
            absent,
            len(specs),
        )
    path = reports / "dashboard" / "index.html"
    write_page(path, build_page(pipelines, specs, reports))
    print(f"dashboard: {path} ({path.stat().st_size / 1e3:.0f} kB)", flush=True)
    if online:
        publish_comparison(pipelines, reports / cfg.recipe)
        print(f"W&B report: {save_report(cfg, pipelines[0].methods, pipelines[0].splits)}", flush=True)


if __name__ == "__main__":
    main()

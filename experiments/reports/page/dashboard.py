"""The comparison on one page, reports/dashboard/index.html, and with logger.mode=online a W&B report."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from experiments.reports.comparison import Comparison, read_comparison
from experiments.reports.evaluation import evaluation
from experiments.reports.gather import references
from experiments.reports.page.content import recipe_content
from experiments.reports.page.page import page
from experiments.reports.page.stage_svg import stage_svg
from experiments.reports.runs import RUNS, pipelines_of, run_specs
from experiments.reports.wandb_report import connect, save_report
from experiments.reports.wandb_runs import publish_comparison
from weightgen.artifacts import Spec
from weightgen.errors import DataError
from weightgen.files import read_json, write_text

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """What `dashboard` does: the report where it is not there, then the page."""
    online = cfg.logger.wandb and cfg.logger.mode == "online"
    if online:
        connect()  # hours of training should not end in a missing login
    pipelines = pipelines_of(cfg)
    specs = [spec for pipeline in pipelines for spec in run_specs(pipeline)]
    reports = Path(cfg.paths.reports)
    folder = reports / cfg.recipe
    if reports_match(specs, folder):
        comparison = replace(read_comparison(folder), **references(pipelines, folder))
    else:
        comparison = evaluation(pipelines)
    if absent := sum(not pipelines[0].store.has(spec) for spec in specs):
        log.warning(
            "%d of %d runs have no artifact here under these options: their images and weights are left out",
            absent,
            len(specs),
        )
    path = reports / "dashboard" / "index.html"
    write_text(path, build_page([comparison, *other_recipes(reports, folder)], reports))
    print(f"dashboard: {path} ({path.stat().st_size / 1e3:.0f} kB)", flush=True)
    if online:
        publish_comparison(comparison, cfg, folder)
        print(f"W&B report: {save_report(cfg, comparison)}", flush=True)


def reports_match(specs: list[Spec], folder: Path) -> bool:
    """Whether the report in `folder` is of exactly these runs: names say too little, since a budget may have changed."""
    path = folder / RUNS
    return path.exists() and set(read_json(path)) == {spec.key for spec in specs}


def other_recipes(reports: Path, own: Path) -> list[Comparison]:
    """The comparisons of other recipes that have reports; one that cannot be read is named and left out."""
    found = []
    for folder in sorted(path.parent for path in reports.glob("*/results.csv")):
        if folder.name == own.name:
            continue
        try:
            found.append(read_comparison(folder))
        except DataError as error:
            log.warning("%s is left out: %s", folder.name, error)
    return found


def build_page(comparisons: Sequence[Comparison], reports: Path) -> str:
    """HTML of the first comparison in full, and of the tables and curves of the others."""
    made = datetime.now().astimezone().strftime("on %Y-%m-%d at %H:%M %Z")
    recipes = [recipe_content(one, reports / one.recipe) for one in comparisons]
    return page({"recipes": recipes}, stage_svg(comparisons[0].stages, style=""), made)

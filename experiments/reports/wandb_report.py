"""The saved W&B report of a recipe, through W&B's own package (the extra `dashboard`)."""

from importlib import import_module
from typing import Any

import wandb
from omegaconf import DictConfig

from experiments.reports.comparison import Comparison
from experiments.training.wandb_run import SECONDS
from weightgen.errors import WeightgenError
from weightgen.evaluation.methods import label

METRICS = {"eval/fid": "FID", "eval/l1": "L1"}


def connect() -> tuple[Any, Any]:
    """(wandb_workspaces.reports.v2, wandb.Api()). Raises WeightgenError where the package or a login is missing."""
    try:
        blocks = import_module("wandb_workspaces.reports.v2")
    except ImportError as error:
        raise WeightgenError(
            "the W&B report needs the package wandb-workspaces: pip install 'weightgen[dashboard]' "
            "(or leave out logger.mode=online for the page on disk alone)"
        ) from error
    try:
        return blocks, wandb.Api()
    except Exception as error:  # wandb's and requests' errors for no key, a wrong key, no network
        raise WeightgenError(
            f"W&B cannot be reached ({_line(error)}): run `wandb login`, check the network, or leave out "
            "logger.mode=online for the page on disk alone"
        ) from error


def comparison_report(blocks: Any, entity: str, project: str, comparison: Comparison) -> Any:
    """-> wandb_workspaces' Report, unsaved: per split the curves of all methods over training seconds, grouped by method;
    then tables, images, novelty and the stage graph of the comparison run."""

    recipe, methods = comparison.recipe, comparison.methods

    def runs(name: str, job: str, further: str = "") -> Any:
        chosen = f"Group = '{recipe}' and JobType = '{job}'{further}"
        return blocks.Runset(entity=entity, project=project, name=name, filters=chosen)

    content = [
        blocks.P(
            f"Recipe {recipe}: {', '.join(label(name) for name in methods)}. Seconds exclude evaluation and "
            "include making the weights; lines are means over concepts and seeds with their standard errors."
        )
    ]
    for split in dict.fromkeys(split for _, split in comparison.groups):
        runset = runs(split, "finetune", f" and Config('split') = '{split}'")
        runset.groupby = ["config.method"]
        panels = [
            blocks.LinePlot(
                title=f"{title}, {split.replace('_', ' ')}",
                x=SECONDS,
                y=[name],
                log_y=True,
                title_x="training seconds",
                groupby=blocks.Config("method"),
                groupby_aggfunc="mean",
                groupby_rangefunc="stderr",
                max_runs_to_show=1000,
                layout=blocks.Layout(x=12 * i, y=0, w=12, h=10),
            )
            for i, (name, title) in enumerate(METRICS.items())
        ]
        content += [blocks.H2(split.replace("_", " ")), blocks.PanelGrid(runsets=[runset], panels=panels)]
    tables = ("summary", "concepts", "wins", "races", "cost")
    panels = [
        blocks.WeavePanelSummaryTable(table_name=f"tables/{name}", layout=blocks.Layout(x=0, y=9 * i, w=24, h=9))
        for i, name in enumerate(tables)
    ]
    content += [blocks.H2("Tables"), blocks.PanelGrid(runsets=[runs("tables", "comparison")], panels=panels)]
    media = [f"images/{name}" for name in ("photo", "target", *methods)]
    panels = [
        blocks.MediaBrowser(title="Images", media_keys=media, layout=blocks.Layout(x=0, y=0, w=24, h=18)),
        blocks.MediaBrowser(
            title="Novelty", media_keys=["figures/novelty"], layout=blocks.Layout(x=0, y=18, w=12, h=12)
        ),
        blocks.MediaBrowser(title="Stages", media_keys=["stages"], layout=blocks.Layout(x=12, y=18, w=12, h=12)),
    ]
    content += [blocks.H2("Images, novelty, stages")]
    content += [blocks.PanelGrid(runsets=[runs("images", "comparison")], panels=panels)]
    return blocks.Report(
        project=project,
        entity=entity,
        title=title_of(recipe),
        description="Generated weights beside their rivals: FID against training seconds, tables, images.",
        blocks=content,
        width="fluid",
    )


def title_of(recipe: str) -> str:
    return f"weightgen: {recipe}"[:128]


def save_report(cfg: DictConfig, comparison: Comparison) -> str:
    """Create the recipe's report in the project, or bring the one of its title up to date; -> its address.

    Raises WeightgenError where the package, a login or the project is missing.
    """
    blocks, api = connect()
    entity, project = cfg.logger.entity or api.default_entity, cfg.logger.project
    try:
        saved = [r for r in api.reports(f"{entity}/{project}") if r.display_name == title_of(cfg.recipe)]
        report = comparison_report(blocks, entity, project, comparison)
        if saved:
            report.id = saved[0].id
        report.save()
    except Exception as error:  # the package raises bare Exceptions and ValueErrors for what the server refuses
        raise WeightgenError(
            f"the W&B report of {entity}/{project} was not saved ({_line(error)}): check logger.entity, project and your "
            "rights there; the page on disk is finished"
        ) from error
    return report.url


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")

"""Every method on every unseen concept and seed, as tables, curves, images and one report."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from experiments.pipeline.build import Pipeline
from experiments.reports.comparison import Comparison, write_tables
from experiments.reports.console import print_summary
from experiments.reports.export import export_generator
from experiments.reports.gather import comparison_of
from experiments.reports.images import contact_sheet
from experiments.reports.markdown import report
from experiments.reports.runs import RUNS, finished_rows, pipelines_of, run_specs
from experiments.reports.wandb_runs import publish_comparison
from weightgen.evaluation.curves import mean
from weightgen.evaluation.figures.charts import novelty_figure
from weightgen.evaluation.figures.seconds import curves_figure
from weightgen.evaluation.methods import OURS
from weightgen.files import write_json, write_text


def run(cfg: DictConfig) -> dict[str, float | None]:
    """What `evaluate` does; -> what a sweep's table says of it: scores of our method, means over bases and splits."""
    comparison = evaluation(pipelines_of(cfg))
    rows = [row for row in comparison.summary if row["method"] == OURS]
    scores = ("gap_closed", "fid_end", "l1_end") if rows else ()
    return {score: mean((row[score] for row in rows), score.split("_")[0]) for score in scores}


def evaluation(pipelines: Sequence[Pipeline]) -> Comparison:
    """Everything in reports/<recipe>/, after building what is missing, and the same in W&B."""
    pipeline, cfg = pipelines[0], pipelines[0].cfg
    rows = finished_rows(list(pipelines))
    folder = Path(cfg.paths.reports) / cfg.recipe
    folder.mkdir(parents=True, exist_ok=True)
    comparison = comparison_of(pipelines, rows, folder)
    if OURS in pipeline.methods:
        export_generator(pipeline, comparison, folder / "generator")
    write_report(comparison, folder)
    write_json(folder / RUNS, sorted({spec.key for pipeline in pipelines for spec in run_specs(pipeline)}))
    publish_comparison(comparison, cfg, folder)
    print_summary(comparison)
    print(f"tables, figures and images: {folder}/report.md", flush=True)
    return comparison


def write_report(comparison: Comparison, folder: Path) -> None:
    """The tables, curves.png, grid.png, novelty.png and report.md."""
    write_tables(comparison, folder)
    counts = {group: comparison.concepts(group) for group in comparison.groups}
    curves_figure(comparison.curves, counts, comparison.feature_set, folder / "curves.png")
    contact_sheet(comparison, folder / "grid.png")
    figures = {"FID against training seconds": "curves.png", "Images": "grid.png"}
    if comparison.novelty:
        novelty_figure(comparison.novelty, folder / "novelty.png")
        figures["Quality against novelty"] = "novelty.png"
    write_text(folder / "report.md", report(comparison, figures))

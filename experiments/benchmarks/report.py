"""What `make bench` leaves behind: bench.csv after every row, README.md and ratios.png; and the table on the console."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.runner import COLUMNS, Result
from weightgen.evaluation.results import write_table
from weightgen.files import replacing, write_text

INTRODUCTION = """# Benchmarks

A ratio says how many times better ours is within one (baseline, ours) pair, time per unit of work over time per unit of
work whatever the unit; above 1 is a win. Pairs are interleaved after a warm-up of both. `baseline` and `ours` are medians
in the unit in brackets. `peak MB` (1e6 bytes): on CUDA all that torch had allocated at ours' peak; on CPU by how much
resident memory grew while ours ran (the sum over worker processes), without nets and data that were there before.
Photos are synthetic, data lies in memory for baselines too. Rows against a target have that number for their baseline.
"""


def save(folder: Path, cfg: DictConfig, command: str, results: Sequence[Result]) -> None:
    """bench.csv and README.md, each replaced in one move."""
    write_table(folder / "bench.csv", COLUMNS, [result.row for result in results])
    write_text(folder / "README.md", readme(cfg, command, results))


def readme(cfg: DictConfig, command: str, results: Sequence[Result]) -> str:
    strategy = cfg.strategy
    facts = {
        "command": f"`{command}`",
        "device": processor() + (f", {torch.cuda.get_device_name()}" if _cuda(cfg) else ""),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads of a process": strategy.threads,
        "precision": strategy.trainer.precision,
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {pl.__version__}",
        "pairs": cfg.bench.pairs,
        "clock": f"{cfg.bench.clock} (rows of several processes: wall)",
    }
    lines = [INTRODUCTION, *(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += ["| row | baseline | ours | ratio | min | max | target | peak MB |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cells(result))} |" for result in results]
    notes = [f"- {result.row['name']}: {result.note}" for result in results if result.note]
    return "\n".join([*lines, *(["", "Not measured:", "", *notes] if notes else [])]) + "\n"


def cells(result: Result) -> list[str]:
    """The row as text, with its target beside the ratios."""
    texts = {name: _number(value) for name, value in result.row.items()}
    ratios = [texts[f"ratio_{name}"] for name in ("median", "min", "max")]
    return [texts["name"], texts["baseline"], texts["ours"], *ratios, verdict(result), texts["peak_mb"]]


def verdict(result: Result) -> str:
    """Whether the median ratio reaches the target; "within noise" if only some pair's does."""
    if result.target is None or result.row["ratio_median"] is None:
        return ""
    reached, at_best = (result.row[f"ratio_{name}"] >= result.target for name in ("median", "max"))
    return f">= {result.target:.3g}: {'met' if reached else 'within noise' if at_best else 'missed'}"


def show(results: Sequence[Result], title: str) -> None:
    """The table on standard output."""
    table = Table(title=title)
    for column in ("row", "baseline", "ours", "ratio", "min", "max", "target", "peak MB"):
        table.add_column(column, justify="left" if column in ("row", "target") else "right")
    for result in results:
        table.add_row(*(text.replace("[", r"\[") for text in cells(result)))
    Console(width=150).print(table)


def figure(results: Sequence[Result], path: Path) -> None:
    """A bar a row: the median ratio on a log axis, whiskers from the least to the greatest, ticks at targets."""
    shown = [result for result in results if result.row["ratio_median"] is not None]
    picture = Figure(figsize=(10, 1.2 + 0.3 * len(shown)), layout="constrained")
    FigureCanvasAgg(picture)
    panel = picture.subplots()
    for place, (row, target, _) in enumerate(shown):
        middle, low, high = (row[f"ratio_{name}"] for name in ("median", "min", "max"))
        panel.barh(place, middle - 1, left=1, color="#2a78b8" if middle >= 1 else "#c9722b", height=0.62)
        panel.plot([low, high], [place, place], color="#222222", linewidth=1.2)
        if target is not None:
            panel.plot([target] * 2, [place - 0.42, place + 0.42], color="#222222", linewidth=2.2)
    panel.axvline(1, color="#222222", linewidth=0.9)
    panel.set_xscale("log")
    panel.set_yticks(range(len(shown)), [result.row["name"] for result in shown], fontsize=8)
    panel.invert_yaxis()
    panel.grid(True, axis="x", color="#d9d9d9", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.set_xlabel("times better than the baseline (log); line: min to max of pairs; tick: target")
    with replacing(path) as aside:
        picture.savefig(aside, dpi=130, format="png", metadata={"Software": None})


def processor() -> str:
    """The CPU's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cuda(cfg: DictConfig) -> bool:
    return cfg.strategy.trainer.accelerator == "gpu" and torch.cuda.is_available()


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

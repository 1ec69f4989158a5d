"""A comparison as report.md: table, figures, configuration, and what the numbers rest on."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.reports.comparison import Comparison
from weightgen.evaluation.methods import OURS, label
from weightgen.evaluation.results import Table

SUMMARY_NOTES = """\
- FID is computed with the feature set named above. Unless that is `inception`, it is not comparable with
  published FIDs, only within this report. Means over (concept, seed): FID geometric, L1 arithmetic.
- *Gap closed*: how much of the way from the base with LoRA at zero to the concept's own fully trained LoRA
  the starting point covers before any fine-tuning, on L1 to the targets; 95 % bootstrap over concepts, seeds.
- *To target*: median seconds until pix2pix's last FID on the same concept and seed is reached; `never` where
  most runs do not get there. Training seconds exclude evaluation and include generating the weights.
"""
WIN_NOTES = (
    "Win rate: share of (concept, seed) pairs where ours is lower. Ours / rival: geometric mean, below 1 "
    "is better. Sign test over concepts. *Same steps*: the rival after at most as many updates as ours."
)
NOVELTY_NOTES = "Medians, in units of the training sets' RMS distance from their mean: 0 is a copy."


def report(comparison: Comparison, figures: Mapping[str, str]) -> str:
    """figures: caption -> path relative to the report. Sections without content are left out."""
    parts = [f"# weightgen: {comparison.recipe}", _provenance(comparison)]
    for base, split in comparison.groups:
        chosen = [row for row in comparison.summary if (row["base"], row["split"]) == (base, split)]
        parts += [f"## {words(split)} (base: {base})", _summary(chosen)]
    parts += [SUMMARY_NOTES.rstrip(), *(f"![{caption}]({source})" for caption, source in figures.items())]
    if comparison.wins:
        title = f"## {label(comparison.wins[0]['method'])} against each rival"
        parts += [title, _wins(comparison.wins), WIN_NOTES]
    if comparison.novelty:
        parts += ["## Novelty of the generated weights", _novelty(comparison.novelty), NOVELTY_NOTES]
    if comparison.cost:
        parts += ["## When the fixed cost pays", _cost(comparison.cost)]
    if comparison.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in comparison.notes)]
    if comparison.config:
        parts += ["## Configuration", f"```yaml\n{comparison.config.rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column left-aligned, the others right. Bars and line ends are escaped."""
    lines = [["---"] + ["---:"] * (len(header) - 1)]
    body = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(header), *lines, *body])


def number(value: float | int | None, pattern: str = ".2f", missing: str = "–") -> str:
    """A figure for reading: missing for None and nan, ∞ for infinity."""
    if value is None or math.isnan(value):
        return missing
    return "∞" if math.isinf(value) else format(value, pattern)


def estimate(row: Mapping[str, Any], name: str) -> str:
    """A value of a table with its interval, where it has one."""
    value, low, high = (row[f"{name}{suffix}"] for suffix in ("", "_low", "_high"))
    return number(value) if low is None else f"{number(value)} [{number(low)}, {number(high)}]"


def words(name: str) -> str:
    """A name from the configuration as words."""
    return name.replace("_", " ")


def method_cell(name: str, bold: bool) -> str:
    return f"**{label(name)}**" if bold else label(name)


def _provenance(comparison: Comparison) -> str:
    experiment, seeds, features, devices = (
        ", ".join(map(str, comparison.values(name))) for name in ("experiment", "seed", "feature_set", "device")
    )
    return (
        f"- experiment: {experiment}; concepts: {len(comparison.values('concept'))}; seeds: {seeds}\n"
        f"- feature set of FID and KID: **{features}**\n- device: {devices}"
    )


def _summary(summary: Table) -> str:
    header = ("method", "FID start", "FID end", "L1 start", "L1 end", "gap closed (L1)", "gap closed (log FID)")
    body = []
    for row in summary:
        raced = row["never_reached"] is not None
        cells = (
            method_cell(row["method"], row["method"] == OURS),
            number(row["fid_start"], ".4g"),
            number(row["fid_end"], ".4g"),
            number(row["l1_start"], ".4f"),
            number(row["l1_end"], ".4f"),
            estimate(row, "gap_closed"),
            number(row["gap_closed_fid"]),
            number(row["seconds"], ".1f"),
            number(row["seconds_to_target"], ".1f", missing="never" if raced else "–"),
            f"{number(row['speedup'], '.1f')}x" if row["speedup"] is not None else "–",
            str(row["never_reached"]) if raced else "–",
        )
        body.append(cells)
    return markdown_table((*header, "seconds", "to target (s)", "speed-up", "never"), body)


def _wins(wins: Table) -> str:
    header = ("rival", "base", "split", "at", "metric", "win rate", "ours / rival", "sign test p", "concepts")
    return markdown_table(
        header,
        [
            (
                label(row["rival"]),
                row["base"],
                words(row["split"]),
                words(row["point"]),
                row["metric"],
                estimate(row, "win_rate"),
                estimate(row, "ratio"),
                number(row["p_value"], ".3g"),
                str(row["concepts"]),
            )
            for row in wins
        ],
    )


def _novelty(novelty: Table) -> str:
    header = ("method", "concepts", "to nearest", "to best interpolation", "to the mean", "train to train")
    columns = ("nearest_distance", "interpolation_distance", "mean_distance", "train_distance")
    body = []
    for method in dict.fromkeys(row["method"] for row in novelty):
        chosen = [row for row in novelty if row["method"] == method]
        medians = [number(statistics.median([row[column] for row in chosen])) for column in columns]
        body.append((label(method), str(len(chosen)), *medians))
    return markdown_table(header, body)


def _cost(cost: Table) -> str:
    header = ("rival", "rival once (s)", "rival each (s)", "ours once (s)", "ours each (s)", "pays from concept")
    body = [
        (
            label(row["rival"]),
            number(row["rival_fixed_seconds"], ".0f"),
            number(row["rival_seconds_per_concept"], ".1f"),
            number(row["fixed_seconds"], ".0f"),
            number(row["seconds_per_concept"], ".1f"),
            "never" if math.isinf(row["break_even_concepts"]) else str(math.ceil(row["break_even_concepts"])),
        )
        for row in cost
    ]
    return markdown_table(header, body)

"""A comparison as report.md: table, figures, configuration, and what the numbers rest on."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.reports.comparison import Comparison
from weightgen.evaluation.curves import METRICS
from weightgen.evaluation.methods import FROM_WORDS, OURS, START, label
from weightgen.evaluation.results import Table

Row = Mapping[str, Any]
Cell = Callable[[Row], str]
Columns = Mapping[str, Cell]  # heading -> what stands below it
SUMMARY_NOTES = """\
- FID is computed with the feature set named in the notes. Unless that is `inception`, it is not comparable with
  published FIDs, only within this report. Means over (concept, seed): FID geometric, L1 arithmetic.
- *Gap closed*: how much of the way from the base with LoRA at zero to the concept's own fully trained LoRA
  the starting point covers before any fine-tuning, on L1 to the targets; 95 % bootstrap over concepts, seeds.
- *To target*: median seconds until the curve reaches pix2pix's last FID on the same concept and seed (log FID against
  log seconds); `never` where the middle run does not, *censored* how many do not. Training seconds exclude evaluation
  and include generating the weights.
"""
WIN_NOTES = (
    "Win rate: share of (concept, seed) pairs where ours is lower. Ours / rival: geometric mean, below 1 "
    "is better. Sign test over concepts. *Same steps*: the rival after at most as many updates as ours."
)
NOVELTY_NOTES = (
    "Medians, in units of the training sets' RMS distance from their mean: 0 is a copy. Seed to seed: between two sets that "
    "one prompt gives from two noises."
)
AGREEMENT_NOTES = (
    "Spearman's correlation of two metrics over the methods of one concept and seed, mean over concepts and seeds: 1 where "
    "they rank methods alike."
)


def report(comparison: Comparison, figures: Mapping[str, str]) -> str:
    """figures: caption -> path relative to the report. A sentence and a table for each base and split, the figures, and the
    rest folded. Sections without content are left out."""
    parts = [f"# weightgen: {comparison.recipe}", *(verdict(comparison, group) for group in comparison.groups)]
    parts += [f"**Collapsed:** {line}" for line in collapses(comparison)]
    for base, split in comparison.groups:
        chosen = [row for row in comparison.summary if (row["base"], row["split"]) == (base, split)]
        parts += [f"## {words(split)} (base: {base})", render(SUMMARY, chosen)]
    parts += [SUMMARY_NOTES.rstrip(), *(f"![{caption}]({source})" for caption, source in figures.items())]
    parts += folded("All scores", render(SCORES, comparison.summary))
    parts += folded("Do the metrics agree?", render(AGREEMENT, comparison.agreement), AGREEMENT_NOTES)
    if comparison.wins:
        title = f"{label(comparison.wins[0]['method'])} against each rival"
        parts += folded(title, render(WINS, comparison.wins), WIN_NOTES)
    if comparison.novelty:
        parts += folded("Novelty of the generated weights", render(NOVELTY, medians(comparison.novelty)), NOVELTY_NOTES)
    if comparison.cost:
        parts += folded("When the fixed cost pays", render(COST, comparison.cost))
    parts += ["## Notes", "\n".join([*provenance_lines(comparison), *(f"- {note}" for note in comparison.notes)])]
    if comparison.config:
        parts += folded("Configuration", f"```yaml\n{comparison.config.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def collapses(comparison: Comparison) -> list[str]:
    """A line for each method of which some runs end drawing nothing, whatever their scores say."""
    return [
        f"{row['collapsed']} of {row['concepts'] * row['seeds']} runs of {label(row['method'])} on {words(row['split'])} "
        f"(base: {row['base']}) draw one colour, or one picture for every photo."
        for row in comparison.summary
        if row["collapsed"]
    ]


def folded(title: str, *content: str) -> list[str]:
    return [f"<details><summary>{title}</summary>", *content, "</details>"]


def verdict(comparison: Comparison, group: tuple[str, str]) -> str:
    """What our method does there, beside E2GAN and the best rival that starts from words."""
    rows = {row["method"]: row for row in comparison.summary if (row["base"], row["split"]) == group}
    if OURS not in rows or rows[OURS]["gap_closed"] is None:
        return f"**{words(group[1])}** (base: {group[0]}): no gap to close was measured."
    mine, zero = rows[OURS], rows[START]
    rivals = [row for name, row in rows.items() if name in FROM_WORDS and row["gap_closed"] is not None]
    best = max(rivals, key=lambda row: row["gap_closed"], default=None)
    beside = f"; the best rival from words, {label(best['method'])}, {estimate(best, 'gap_closed')}" if best else ""
    race = [
        row
        for row in comparison.races
        if (row["base"], row["split"], row["target"], row["method"]) == (*group, START, OURS)
    ]
    when, said = ("end", "Fine-tuned, they end") if race else ("start", "They start")  # no race: nothing was trained
    fast = f" E2GAN's last FID is reached {_times(race[0])}." if race else ""
    return (
        f"**{words(group[1])}** (base: {group[0]}, {comparison.concepts(group)} concepts): before any training, generated "
        f"weights close {estimate(mine, 'gap_closed')} of the gap to the concept's own LoRA{beside}. {said} at "
        f"FID {number(mine[f'fid_{when}'], '.4g')}, E2GAN at {number(zero[f'fid_{when}'], '.4g')}.{fast}"
    )


def _times(race: Row) -> str:
    if race["speedup"] is None:
        return f"by {race['runs'] - race['censored']} of {race['runs']} runs"
    return f"{estimate(race, 'speedup')} times as fast ({race['censored']} of {race['runs']} runs never do)"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column left-aligned, the others right. Bars and line ends are escaped."""
    lines = [["---"] + ["---:"] * (len(header) - 1)]
    body = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(header), *lines, *body])


def render(columns: Columns, rows: Iterable[Row]) -> str:
    """A Markdown table with these columns."""
    return markdown_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


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


def provenance_lines(comparison: Comparison) -> list[str]:
    experiment, seeds, features = (
        ", ".join(map(str, comparison.values(name))) for name in ("experiment", "seed", "feature_set")
    )
    devices = comparison.values("device")
    mixed = " (several, so no speed-up is given between runs of different ones)" if len(devices) > 1 else ""
    return [
        f"- experiment: {experiment}; concepts: {len(comparison.values('concept'))}; seeds: {seeds}",
        f"- feature set of FID, KID and MMD: **{features}**",
        f"- device: {', '.join(devices)}{mixed}",
    ]


def shown(key: str, pattern: str = ".2f") -> Cell:
    """The cell of a number."""
    return lambda row: number(row[key], pattern)


def to_target(row: Row) -> str:
    """Seconds to pix2pix's last FID; "never" where the middle run does not get there."""
    return number(row["seconds_to_target"], ".1f", "–" if row["censored"] is None else "never")


def pays_from(row: Row) -> str:
    concepts = row["break_even_concepts"]
    return "never" if math.isinf(concepts) else str(math.ceil(concepts))


def medians(novelty: Table) -> Table:
    """One row per method: the medians of its distances."""
    table = []
    for method in dict.fromkeys(row["method"] for row in novelty):
        chosen = [row for row in novelty if row["method"] == method]
        known = {column: [row[column] for row in chosen if row[column] is not None] for column in DISTANCES}
        middle = {column: statistics.median(values) if values else None for column, values in known.items()}
        table.append({"method": method, "concepts": len(chosen)} | middle)
    return table


DISTANCES = ("nearest_distance", "interpolation_distance", "mean_distance", "train_distance", "seed_distance")
SUMMARY: Columns = {
    "method": lambda row: method_cell(row["method"], row["method"] == OURS),
    "FID start": shown("fid_start", ".4g"),
    "FID end": shown("fid_end", ".4g"),
    "L1 start": shown("l1_start", ".4f"),
    "L1 end": shown("l1_end", ".4f"),
    "gap closed (L1)": lambda row: estimate(row, "gap_closed"),
    "gap closed (log FID)": shown("gap_closed_fid"),
    "seconds": shown("seconds", ".1f"),
    "to target (s)": to_target,
    "speed-up": lambda row: "–" if row["speedup"] is None else f"{number(row['speedup'], '.1f')}x",
    "censored": shown("censored", "d"),
}
SCORES: Columns = {
    "method": lambda row: method_cell(row["method"], row["method"] == OURS),
    "base": lambda row: row["base"],
    "split": lambda row: words(row["split"]),
    **{
        f"{metric.upper() if len(metric) == 3 else metric} {when}": shown(f"{metric}_{when}", ".4g")
        for metric in ("fid", "kid", "mmd", "perceptual")
        for when in ("start", "end")
    },
}
WINS: Columns = {
    "rival": lambda row: label(row["rival"]),
    "base": lambda row: row["base"],
    "split": lambda row: words(row["split"]),
    "at": lambda row: words(row["point"]),
    "metric": lambda row: row["metric"],
    "win rate": lambda row: estimate(row, "win_rate"),
    "ours / rival": lambda row: estimate(row, "ratio"),
    "sign test p": shown("p_value", ".3g"),
    "concepts": shown("concepts", "d"),
}
NOVELTY: Columns = {
    "method": lambda row: label(row["method"]),
    "concepts": shown("concepts", "d"),
    "to nearest": shown("nearest_distance"),
    "to best interpolation": shown("interpolation_distance"),
    "to the mean": shown("mean_distance"),
    "train to train": shown("train_distance"),
    "seed to seed": shown("seed_distance"),
}
AGREEMENT: Columns = {
    "metric": lambda row: row["metric"],
    "split": lambda row: words(row["split"]),
    "base": lambda row: row["base"],
    "at": lambda row: row["point"],
    **{f"with {metric}": shown(metric) for metric in METRICS},
    "mean over others": shown("others"),
}
COST: Columns = {
    "rival": lambda row: label(row["rival"]),
    "split": lambda row: words(row["split"]),
    "base": lambda row: row["base"],
    "to the last FID of": lambda row: label(row["target"]),
    "rival once (s)": shown("rival_fixed_seconds", ".0f"),
    "rival each (s)": shown("rival_seconds_per_concept", ".1f"),
    "ours once (s)": shown("fixed_seconds", ".0f"),
    "ours each (s)": shown("seconds_per_concept", ".1f"),
    "pays from concept": pays_from,
}

"""report.md: the one page a reader opens: table, figures, configuration, and what the numbers rest on."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from weightgen.evaluation.methods import OURS, label
from weightgen.evaluation.results import ResultRow
from weightgen.files import write_text

_NOTES = """\
- FID is computed with the feature set named above. Unless that is `inception`, it is not comparable with
  published FIDs, only within this report. Means over (concept, seed): FID geometric, L1 arithmetic.
- *Gap closed*: how much of the way from the base with LoRA at zero to the concept's own fully trained LoRA
  the starting point covers before any fine-tuning, on L1 to the targets; 95 % bootstrap over concepts, seeds.
- *To target*: median seconds until pix2pix's last FID on the same concept and seed is reached; `never` where
  most runs do not get there. Training seconds exclude evaluation and include generating the weights.
"""


def report(
    path: str | Path,
    rows: Sequence[ResultRow],
    summary: Sequence[Mapping[str, Any]],
    config: str,
    title: str = "Comparison",
    figures: Mapping[str, str] | None = None,
    wins: Sequence[Mapping[str, Any]] = (),
    novelty: Sequence[Mapping[str, Any]] = (),
    cost: Sequence[Mapping[str, Any]] = (),
    notes: Iterable[str] = (),
) -> None:
    """Write report.md.

    rows, summary, wins, novelty, cost: as read_results, summarize, wins, novelty and cost_table give them;
    config: the resolved configuration as text; figures: caption -> path relative to the report;
    notes: further lines (attributions, limits). Sections without content are left out.
    """
    parts = [f"# {title}", _provenance(rows)]
    for base, split in dict.fromkeys((row["base"], row["split"]) for row in summary):
        chosen = [row for row in summary if (row["base"], row["split"]) == (base, split)]
        parts += [f"## {split.replace('_', ' ')} (base: {base})", _summary_table(chosen)]
    parts += [_NOTES]
    parts += [f"![{caption}]({source})" for caption, source in (figures or {}).items()]
    if wins:
        parts += [f"## {label(str(wins[0]['method']))} against each rival", _wins_table(wins)]
    if novelty:
        parts += ["## Novelty of the generated weights", _novelty_table(novelty)]
    if cost:
        parts += ["## When the fixed cost pays", _cost_table(cost)]
    if lines := [f"- {note}" for note in notes]:
        parts += ["## Notes", "\n".join(lines)]
    parts += ["## Configuration", f"```yaml\n{config.rstrip()}\n```"]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n\n".join(part.rstrip() for part in parts) + "\n")


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


def _interval(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{suffix}"] for suffix in ("", "_low", "_high"))
    return number(value) if low is None else f"{number(value)} [{number(low)}, {number(high)}]"


def _provenance(rows: Sequence[ResultRow]) -> str:
    def values(column: str) -> str:
        return ", ".join(str(value) for value in sorted({row[column] for row in rows}))

    concepts = len({row["concept"] for row in rows})
    return "\n".join(
        [
            f"- experiment: {values('experiment')}; concepts: {concepts}; seeds: {values('seed')}",
            f"- feature set of FID and KID: **{values('feature_set')}**",
            f"- device: {values('device')}",
        ]
    )


def _summary_table(summary: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "method",
        "FID start",
        "FID end",
        "L1 start",
        "L1 end",
        "gap closed (L1)",
        "gap closed (log FID)",
        "seconds",
        "to target (s)",
        "speed-up",
        "never",
    )
    body = []
    for row in summary:
        reached = row["never_reached"] is not None
        cells = (
            f"**{label(row['method'])}**" if row["method"] == OURS else label(row["method"]),
            number(row["fid_start"], ".4g"),
            number(row["fid_end"], ".4g"),
            number(row["l1_start"], ".4f"),
            number(row["l1_end"], ".4f"),
            _interval(row, "gap_closed"),
            number(row["gap_closed_fid"]),
            number(row["seconds"], ".1f"),
            number(row["seconds_to_target"], ".1f", missing="never" if reached else "–"),
            f"{number(row['speedup'], '.1f')}x" if row["speedup"] is not None else "–",
            str(row["never_reached"]) if reached else "–",
        )
        body.append(cells)
    return markdown_table(header, body)


def _wins_table(wins: Sequence[Mapping[str, Any]]) -> str:
    header = ("rival", "base", "split", "at", "metric", "win rate", "ours / rival", "sign test p", "concepts")
    body = [
        (
            label(row["rival"]),
            row["base"],
            row["split"].replace("_", " "),
            row["point"].replace("_", " "),
            row["metric"],
            _interval(row, "win_rate"),
            _interval(row, "ratio"),
            number(row["p_value"], ".3g"),
            str(row["concepts"]),
        )
        for row in wins
    ]
    caption = (
        "Win rate: share of (concept, seed) pairs where ours is lower. Ours / rival: geometric mean, below 1 "
        "is better. Sign test over concepts. *Same steps*: the rival after at most as many updates as ours."
    )
    return f"{markdown_table(header, body)}\n\n{caption}"


def _novelty_table(novelty: Sequence[Mapping[str, Any]]) -> str:
    header = ("method", "concepts", "to nearest", "to best interpolation", "to the mean", "train to train")
    body = []
    for method in dict.fromkeys(row["method"] for row in novelty):
        chosen = [row for row in novelty if row["method"] == method]
        columns = ("nearest_distance", "interpolation_distance", "mean_distance", "train_distance")
        medians = [number(statistics.median([row[column] for row in chosen])) for column in columns]
        body.append((label(method), str(len(chosen)), *medians))
    caption = "Medians, in units of the training sets' RMS distance from their mean: 0 is a copy."
    return f"{markdown_table(header, body)}\n\n{caption}"


def _cost_table(cost: Sequence[Mapping[str, Any]]) -> str:
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

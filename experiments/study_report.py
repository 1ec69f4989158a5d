"""What a study's finished values add up to: table.csv, figure.png and README.md, written from the numbers alone."""

import json
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from filelock import FileLock

from weightgen.evaluation.methods import CEILING, FROM_SCRATCH, OURS, START, label
from weightgen.evaluation.report import markdown_table, number
from weightgen.evaluation.results import ResultRow, read_results, write_table
from weightgen.evaluation.study_plots import study_figure
from weightgen.evaluation.summary import collect, summarize

PLAN = "plan.json"
SUMMARISED = (
    "base",
    "split",
    "method",
    "concepts",
    "seeds",
    "gap_closed",
    "gap_closed_low",
    "gap_closed_high",
    "gap_closed_fid",
    "fid_start",
    "l1_start",
    "fid_end",
    "seconds",
)
TABLE_COLUMNS = (
    "experiment",
    "axis",
    "value",
    *SUMMARISED,
    "generation_seconds",
    "denoiser_seconds",
    "blocks",
)
Rows = list[dict[str, Any]]


def file_name(name: str) -> str:
    """A label as the name of a file."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")


def finished(folder: Path) -> tuple[dict[str, Any], Rows, Rows]:
    """plan.json, and of its values the records of those that are done and of those that could not be had.

    A record of other settings than the plan's belongs to an earlier command and does not count.
    """
    plan = json.loads((folder / PLAN).read_text())
    records = []
    for known in plan["values"]:
        path = folder / "runs" / f"{file_name(known['label'])}.json"
        record = json.loads(path.read_text()) if path.exists() else None
        if record and (record["value"], record["settings"]) == (known["value"], plan["settings"]):
            records.append(record)
    done = [record for record in records if record["status"] == "done"]
    return plan, done, [record for record in records if record["status"] == "absent"]


def state(folder: Path) -> str:
    """ "done, 3 of 3", "partial, 1 of 3", each with what could not be had."""
    plan, done, absent = finished(folder)
    count = len(plan["values"])
    word = "done" if done and len(done) + len(absent) == count else "partial"
    missing = f" ({', '.join(record['label'] for record in absent)} could not be had)" if absent else ""
    return f"{word}, {len(done)} of {count}{missing}"


def table_rows(plan: dict[str, Any], record: dict[str, Any], rows: list[ResultRow]) -> Rows:
    """One row per base, split and method of one value. generation_seconds: mean time to the initial weights, text
    encoding included; denoiser_seconds and blocks (K) where the method has a denoiser."""
    runs = collect(rows)
    table = []
    for row in summarize(rows):
        starts = [curve.start for curve in runs[row["base"], row["split"]][row["method"]].values()]
        facts = record["bases"].get(row["base"], {"denoised": []})
        denoised = row["method"] in facts["denoised"]
        table.append(
            {"experiment": plan["recipe"], "axis": plan["axis"], "value": record["label"]}
            | {name: row[name] for name in SUMMARISED}
            | {
                "generation_seconds": statistics.fmean(start["train_seconds"] for start in starts),
                "denoiser_seconds": facts["denoiser_seconds"] if denoised else None,
                "blocks": facts["blocks"] if denoised else None,
            }
        )
    return table


def gather(folder: Path) -> None:
    """Write table.csv, figure.png and README.md from the values finished so far."""
    with FileLock(folder / ".gather.lock"):
        plan, done, absent = finished(folder)
        rows = {r["label"]: read_results(folder / "runs" / f"{file_name(r['label'])}.csv") for r in done}
        table = [row for record in done for row in table_rows(plan, record, rows[record["label"]])]
        if table:
            write_table(folder / "table.csv", TABLE_COLUMNS, table)
            study_figure(table, folder / "figure.png", plan["axis"], f"{plan['study']} ({plan['recipe']})")
        else:
            for stale in ("table.csv", "figure.png"):
                (folder / stale).unlink(missing_ok=True)
        text = readme(
            plan, state(folder), done, absent, [row for part in rows.values() for row in part], table
        )
        temporary = folder / ".README.md.part"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / "README.md")


def readme(
    plan: dict[str, Any], progress: str, done: Rows, absent: Rows, rows: list[ResultRow], table: Rows
) -> str:
    """The study on one page."""
    parts = [
        f"# {plan['study']}, recipe `{plan['recipe']}`",
        plan["question"],
        "\n".join(_provenance(plan, progress, done, rows)),
    ]
    if table:
        parts += ["## Reading", "\n".join(f"- {line}" for line in readings(table))]
        parts += ["![gap closed against the axis](figure.png)", "## Table", _markdown(table, plan["axis"])]
    notes = [
        *plan["notes"],
        *(f"`{plan['axis']}={r['value']}` could not be had: {r['reason']}" for r in absent),
    ]
    notes.append(
        "Gap closed: how much of the way from the base with LoRA at zero to the concept's own trained LoRA an "
        "initialisation covers before any fine-tuning, on L1 to the targets, with its 95 % bootstrap interval over "
        "concepts and seeds; each value has its own zero and its own trained LoRA where the axis changes them."
    )
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _provenance(plan: dict[str, Any], progress: str, done: Rows, rows: list[ResultRow]) -> list[str]:
    def named(column: str) -> str:
        return ", ".join(str(value) for value in sorted({row[column] for row in rows}))

    lines = [f"- command: `{plan['command']}`", f"- axis: `{plan['axis']}`; {progress}"]
    if rows:
        splits = Counter(split for split, _ in {(row["split"], row["concept"]) for row in rows})
        concepts = ", ".join(f"{count} {split}" for split, count in sorted(splits.items()))
        seconds = sum(record["wall_seconds"] for record in done)
        lines += [
            f"- device: {named('device')}; seeds: {named('seed')}; concepts: {concepts}",
            f"- feature set of FID: **{named('feature_set')}**",
            f"- measured: {'along the fine-tuning budget' if plan['finetune'] else 'at step 0, without fine-tuning'}",
            f"- wall time: {seconds:.0f} s, which leaves out artifacts that earlier runs had built",
        ]
    return lines


def ours(method: str) -> bool:
    """The weight generator or a variant of it."""
    return method == OURS or method.startswith(f"{OURS}_")


def readings(table: Rows) -> list[str]:
    """One line per base and split: where `generated` closes most and least, beside the best rival at its best."""
    lines = []
    for base, split in dict.fromkeys((row["base"], row["split"]) for row in table):
        group = [row for row in table if (row["base"], row["split"]) == (base, split)]
        head = f"{split.replace('_', ' ')}, base {base}:"
        known = [row for row in group if ours(row["method"]) and row["gap_closed"] is not None]
        if not known:
            lines.append(f"{head} no gap to close, the trained LoRAs gain nothing over zero.")
            continue
        best, worst = (choose(known, key=lambda row: row["gap_closed"]) for choose in (max, min))
        line = f"{head} the weight generator closes {_closed(best)} of the gap at {best['value']}"
        if worst is not best:
            line += f", its best, and {_closed(worst)} at {worst['value']}, its worst{_overlap(best, worst)}"
        skipped = (START, CEILING, FROM_SCRATCH)
        rivals = [
            row
            for row in group
            if row["value"] == best["value"]
            and not ours(row["method"])
            and row["method"] not in skipped
            and row["gap_closed"] is not None
        ]
        if rivals:
            rival = max(rivals, key=lambda row: row["gap_closed"])
            line += f"; the best of its rivals at {best['value']}, {label(rival['method'])}, closes {_closed(rival)}"
        lines.append(f"{line}.")
    return lines


def _closed(row: dict[str, Any]) -> str:
    low, high = row["gap_closed_low"], row["gap_closed_high"]
    value = number(row["gap_closed"])
    return value if low is None else f"{value} [{number(low)}, {number(high)}]"


def _overlap(best: dict[str, Any], worst: dict[str, Any]) -> str:
    if best["gap_closed_low"] is None or worst["gap_closed_high"] is None:
        return ""
    apart = best["gap_closed_low"] > worst["gap_closed_high"]
    return " (their intervals do not overlap)" if apart else " (their intervals overlap)"


def _markdown(table: Rows, axis: str) -> str:
    header = (
        axis,
        "base",
        "split",
        "method",
        "gap closed (L1)",
        "gap closed (log FID)",
        "FID start",
        "L1 start",
    )
    header += ("FID end", "generation (s)", "denoiser (s)", "blocks")
    body = [
        (
            row["value"],
            row["base"],
            row["split"].replace("_", " "),
            f"**{label(row['method'])}**" if ours(row["method"]) else label(row["method"]),
            _closed(row),
            number(row["gap_closed_fid"]),
            number(row["fid_start"], ".4g"),
            number(row["l1_start"], ".4f"),
            number(row["fid_end"], ".4g"),
            number(row["generation_seconds"], ".3f"),
            number(row["denoiser_seconds"], ".0f"),
            number(row["blocks"], "d"),
        )
        for row in table
    ]
    return markdown_table(header, body)

"""A study's README.md: what was run, and a reading that says no more than the numbers do."""

from collections import Counter
from typing import Any

from experiments.reports.markdown import Columns, estimate, method_cell, number, render, shown, words
from weightgen.evaluation.comparisons import gap_difference
from weightgen.evaluation.curves import Groups
from weightgen.evaluation.methods import FLOOR, FROM_SCRATCH, OURS, OWN, START, label, ordered, ours
from weightgen.evaluation.results import Table

FIGURE, SPEEDUP = "figure.png", "speedup.png"
GAP_CLOSED = (
    "Gap closed: how much of the way from the base with LoRA at zero to the concept's own trained LoRA an "
    "initialisation covers before any fine-tuning, on L1 to the targets, with its 95 % bootstrap interval over "
    "concepts and seeds; each value has its own zero and its own trained LoRA where the axis changes them."
)
PAIRED = (
    "A paired difference takes the same resamples of concepts and seeds at both values. Best and worst are chosen "
    "by the result, which flatters the difference where there are many values."
)


def readme(
    plan: dict[str, Any],
    progress: str,
    records: tuple[Table, Table],
    rows: Table,
    runs: dict[str, Groups],
    table: Table,
) -> str:
    """The study on one page. records: of the values that are done, and of those that could not be had; rows: all
    results; runs: value -> its results as curves; table: of table.csv."""
    done, absent = records
    parts = [f"# {plan['study']}, recipe `{plan['recipe']}`", plan["question"]]
    parts += ["\n".join(_provenance(plan, progress, done, rows))]
    if table:
        parts += ["## Reading", "\n".join(f"- {line}" for line in readings(table, runs))]
        parts += [f"![gap closed against the axis]({FIGURE})"]
        if raced(table):
            parts += [f"![speed-up to the last FID of pix2pix against the axis]({SPEEDUP})"]
        parts += ["## Table", _markdown(table, plan)]
    notes = [*plan["notes"], *(f"`{plan['axis']}={r['value']}` could not be had: {r['reason']}" for r in absent)]
    parts += ["## Notes", "\n".join(f"- {note}" for note in [*notes, GAP_CLOSED, PAIRED])]
    return "\n\n".join(parts) + "\n"


def raced(table: Table) -> bool:
    """Whether the study fine-tuned beside pix2pix, so that there are speed-ups."""
    return any(row["speedup_low"] is not None for row in table)


def _provenance(plan: dict[str, Any], progress: str, done: Table, rows: Table) -> list[str]:
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


def readings(table: Table, runs: dict[str, Groups]) -> list[str]:
    """One line per base, split and way of ours to start: where it closes most and least, beside the best rival at its best.

    runs: value -> its results as curves.
    """
    lines = []
    for base, split in dict.fromkeys((row["base"], row["split"]) for row in table):
        group = [row for row in table if (row["base"], row["split"]) == (base, split)]
        head = f"{words(split)}, base {base}:"
        known = [row for row in group if ours(row["method"]) and row["gap_closed"] is not None]
        if not known:
            lines.append(f"{head} no gap to close, the trained LoRAs gain nothing over zero.")
        for way in ordered(ours(row["method"]) for row in known):
            lines.append(f"{head} {_reading(group, runs, way)}.")
    return lines


def _reading(group: Table, runs: dict[str, Groups], way: str) -> str:
    """What one of our ways to start closes, in one sentence; group: the table's rows of one base and split."""
    known = [row for row in group if ours(row["method"]) == way and row["gap_closed"] is not None]
    best, worst = (choose(known, key=lambda row: row["gap_closed"]) for choose in (max, min))
    name = "the weight generator" if way == OURS else label(way)
    line = f"{name} closes {estimate(best, 'gap_closed')} of the gap at {best['value']}"
    if number(best["gap_closed"]) == number(worst["gap_closed"]):
        line += ", and to two decimals as much at every other value" if len(known) > 1 else ""
    else:
        line += f", its best, and {estimate(worst, 'gap_closed')} at {worst['value']}, its worst"
        line += f"; {_difference(runs, best, worst)}"
    skipped = (START, OWN, FROM_SCRATCH, FLOOR)
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
        line += f"; the best of its rivals at {best['value']}, {label(rival['method'])}, "
        line += f"closes {estimate(rival, 'gap_closed')}"
    return line


def _difference(runs: dict[str, Groups], best: dict[str, Any], worst: dict[str, Any]) -> str:
    pair = [(runs[row["value"]][row["base"], row["split"]], row["method"]) for row in (best, worst)]
    value, low, high = gap_difference(*pair)
    return f"paired difference {number(value)} [{number(low)}, {number(high)}]"


def _markdown(table: Table, plan: dict[str, Any]) -> str:
    columns: Columns = {
        plan["axis"]: lambda row: row["value"],
        "base": lambda row: row["base"],
        "split": lambda row: words(row["split"]),
        "method": lambda row: method_cell(row["method"], bool(ours(row["method"]))),
        "gap closed (L1)": lambda row: estimate(row, "gap_closed"),
        "gap closed (log FID)": shown("gap_closed_fid"),
        "FID start": shown("fid_start", ".4g"),
        "L1 start": shown("l1_start", ".4f"),
        "generation (s)": shown("generation_seconds", ".3f"),
        "denoiser (s)": shown("denoiser_seconds", ".0f"),
        "blocks": shown("blocks", "d"),
    }
    ends: Columns = {"FID end": shown("fid_end", ".4g"), "seconds": shown("seconds", ".1f")}
    if raced(table):
        ends["speed-up to pix2pix's last FID"] = _speedup
    return render({**columns, **ends} if plan["finetune"] else columns, table)


def _speedup(row: dict[str, Any]) -> str:
    return "never" if row["speedup"] is None and row["censored"] else estimate(row, "speedup")

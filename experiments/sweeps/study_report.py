"""What a study's finished values add up to: table.csv, figure.png and README.md."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from filelock import FileLock

from experiments.sweeps.study_readme import FIGURE, SPEEDUP, raced, readme
from weightgen.evaluation.comparisons import races, summarize
from weightgen.evaluation.curves import Groups, collect
from weightgen.evaluation.figures.charts import study_figure
from weightgen.evaluation.methods import FROM_SCRATCH
from weightgen.evaluation.results import Table, columns, read_results, write_table
from weightgen.files import write_text

PLAN = "plan.json"
SUMMARISED = columns(
    "base split method concepts seeds gap_closed gap_closed_low gap_closed_high gap_closed_fid fid_start l1_start "
    "fid_end seconds"
)
RACED = ("speedup", "speedup_low", "speedup_high", "censored")  # to the last FID of pix2pix, where it takes part
TABLE_COLUMNS = ("experiment", "axis", "value", *SUMMARISED, *RACED, "generation_seconds", "denoiser_seconds", "blocks")


def file_name(name: str) -> str:
    """A label as the name of a file."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")


def finished(folder: Path) -> tuple[dict[str, Any], Table, Table]:
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


def table_rows(plan: dict[str, Any], record: dict[str, Any], runs: Groups) -> Table:
    """One row per base, split and method of one value. generation_seconds: mean time to the initial weights, text
    encoding included; denoiser_seconds and blocks (K) where the method has a denoiser; RACED where the study fine-tunes."""
    table = []
    found = races(runs, (FROM_SCRATCH,)) if plan["finetune"] else []
    races_of = {(row["base"], row["split"], row["method"]): row for row in found}
    for row in summarize(runs):
        starts = [curve.start for curve in runs[row["base"], row["split"]][row["method"]].values()]
        facts = record["bases"].get(row["base"], {"denoised": []})
        denoised = row["method"] in facts["denoised"]
        table.append(
            {"experiment": plan["recipe"], "axis": plan["axis"], "value": record["label"]}
            | {name: row[name] for name in SUMMARISED}
            | {name: races_of.get((row["base"], row["split"], row["method"]), {}).get(name) for name in RACED}
            | {
                "generation_seconds": statistics.fmean(start["train_seconds"] for start in starts),
                "denoiser_seconds": facts["denoiser_seconds"] if denoised else None,
                "blocks": facts["blocks"] if denoised else None,
            }
        )
    return table


def gather(folder: Path) -> None:
    """Write table.csv, figure.png, README.md and, with fine-tuning, speedup.png from the values finished so far."""
    with FileLock(folder / ".gather.lock"):
        plan, done, absent = finished(folder)
        rows = {r["label"]: read_results(folder / "runs" / f"{file_name(r['label'])}.csv") for r in done}
        runs = {name: collect(part) for name, part in rows.items()}
        table = [row for record in done for row in table_rows(plan, record, runs[record["label"]])]
        title = f"{plan['study']} ({plan['recipe']})"
        if table:
            write_table(folder / "table.csv", TABLE_COLUMNS, table)
            study_figure(table, folder / FIGURE, plan["axis"], title)
        else:
            for stale in ("table.csv", FIGURE):
                (folder / stale).unlink(missing_ok=True)
        if raced(table):
            study_figure(table, folder / SPEEDUP, plan["axis"], title, of="speedup")
        else:
            (folder / SPEEDUP).unlink(missing_ok=True)
        every = [row for part in rows.values() for row in part]
        write_text(folder / "README.md", readme(plan, state(folder), (done, absent), every, runs, table))

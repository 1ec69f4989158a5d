"""Tables on standard output, as wide as the terminal."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from experiments.reports.comparison import Comparison
from experiments.reports.markdown import collapses, words
from weightgen.evaluation.methods import label
from weightgen.evaluation.results import Table

SUMMARY = {
    "method": "method",
    "fid_start": "FID at 0",
    "fid_end": "FID at end",
    "l1_start": "L1 at 0",
    "l1_end": "L1 at end",
    "gap_closed": "gap closed",
    "seconds": "seconds",
    "speedup": "speed-up",
    "censored": "censored",
}


def print_summary(comparison: Comparison) -> None:
    """What the methods reached, a table per base and split."""
    for base, split in comparison.groups:
        chosen = [row for row in comparison.summary if (row["base"], row["split"]) == (base, split)]
        rows = [row | {"method": label(row["method"])} for row in chosen]
        print_table(f"{words(split)} (base: {base})", SUMMARY, rows)
    for line in collapses(comparison):
        print(f"collapsed: {line}", flush=True)


def print_table(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]] | Table) -> None:
    """columns: key of a row -> its heading; texts to the left, numbers to the right with three figures.

    As wide as the terminal; where there is none (a file, a pipe), as wide as the table needs.
    """
    table = RichTable(title=title)
    for key, heading in columns.items():
        text = any(isinstance(row[key], str) for row in rows)
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[key]).replace("[", r"\[") for key in columns))
    Console(width=shutil.get_terminal_size((160, 24)).columns).print(table)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

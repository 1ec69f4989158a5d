"""A stage's metrics as one CSV file that survives kills: written at once, continued by the run that goes on."""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from weightgen.files import write_rows

log = logging.getLogger(__name__)
STEP = "step"


class CsvLog(Logger):
    """Each row is in the file when `log_metrics` returns. Lightning's CSVLogger deletes what an earlier run left.

    A run that goes on from a checkpoint logs again what came after it: rows of an earlier run from the first step logged
    by this one are dropped, so every step is there once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.earlier: list[dict[str, Any]] | None = read(path)  # None as soon as this run has logged
        self.columns: list[str] = []

    name = "csv"
    version = ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = {name: float(value) for name, value in metrics.items()}
        row[STEP] = int(step if step is not None else row.get(STEP, 0))
        if self.earlier is not None:
            self._rewrite([old for old in self.earlier if old[STEP] < row[STEP]], row)
            self.earlier = None
        elif set(row) - set(self.columns):
            self._rewrite(read(self.path), row)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def _rewrite(self, rows: list[dict[str, Any]], new: Mapping[str, Any]) -> None:
        """The file with a header for all of these, replaced atomically."""
        self.columns = sorted({name for row in (*rows, new) for name in row})
        write_rows(self.path, self.columns, [[row.get(column, "") for column in self.columns] for row in rows])


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file with numbers for what they have; none if there is no file. A line cut short is left out, and so
    is, with a warning, one that holds anything else."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_text(errors="replace").replace("\0", "\ufffd").rpartition("\n")
    rows, damaged = [], 0
    for row in csv.DictReader((whole + newline).splitlines()):
        try:
            numbers = {name: float(value) for name, value in row.items() if value}
            rows.append(numbers | {STEP: int(numbers[STEP])})
        except (TypeError, ValueError, KeyError, OverflowError):
            damaged += 1
    if damaged:
        log.warning("%s: %d damaged lines are left out", path, damaged)
    return rows

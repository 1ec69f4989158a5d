"""results.csv and the tables that follow from it: exact to the last digit, written whole or not at all."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from weightgen.errors import DataError
from weightgen.files import unescaped, write_rows

Table = list[dict[str, Any]]


def columns(names: str) -> tuple[str, ...]:
    """The columns of a table, from their names with spaces between."""
    return tuple(names.split())


# Columns that are never numbers, whatever a concept is called.
TEXT = frozenset(columns("base split method rival point metric target concept nearest prompt experiment axis value"))


class ResultRow(TypedDict):
    """One evaluation of one run.

    base: name of the base translator, "none" for methods without one; step: generator updates so far;
    train_seconds: training time so far without evaluation, plus what the method spent on its start
    (e.g. generating weights), so that curves of all methods share one clock; fid, kid: in units of
    feature_set; l1: [0, 1]; perceptual: [0, 4], mmd: at most 2, either nan where not measured; collapsed: 1 where the
    translator draws nothing (weightgen.evaluation.metrics.collapsed), else 0.
    """

    experiment: str
    base: str
    concept: str
    prompt: str
    split: str
    method: str
    seed: int
    step: int
    train_seconds: float
    fid: float
    kid: float
    l1: float
    feature_set: str
    device: str
    perceptual: float
    mmd: float
    collapsed: float


LATE = ("perceptual", "mmd", "collapsed")  # columns that tables of earlier runs lack
_TYPES = dict(ResultRow.__annotations__)
RESULT_COLUMNS = tuple(_TYPES)


def write_results(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with RESULT_COLUMNS, atomically; floats survive exactly. Raises DataError on a bad row."""
    write_table(path, RESULT_COLUMNS, [_typed(row, "row to write") for row in rows])


def read_results(path: str | Path) -> list[ResultRow]:
    """Inverse of write_results. Raises DataError on a missing file, column or unreadable number."""
    return [_typed(row, f"{path} line {line}") for line, row in enumerate(read_table(path), start=2)]


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A CSV with these columns, written beside `path` and renamed, so that a reader never sees half a file.

    None and nan become empty cells. A row with other keys than the columns raises DataError.
    """
    cells = []
    for row in rows:
        if set(row) != set(columns):
            raise DataError(f"{Path(path).name}: row has {sorted(row)}, the columns are {sorted(columns)}")
        cells.append([_cell(row[column]) for column in columns])
    write_rows(path, columns, cells)


def read_table(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV as text. Raises DataError where the file is missing or a row has a wrong length."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: run the evaluation that writes it first")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_read(row) for row in csv.DictReader(file, restkey="", restval=None)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no table of ours ({error}): write it anew, or delete it") from error
    for line, row in enumerate(rows, start=2):
        if None in row.values() or "" in row:
            raise DataError(f"{path} line {line} has a wrong number of cells: it was cut or edited; write it anew")
    return rows


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return {name: unescaped(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def read_numbers(path: Path) -> Table:
    """The rows of one of our tables: numbers as numbers, empty cells None; [] where there is no such table."""
    if not path.is_file():
        return []
    return [
        {name: cell if name in TEXT else _number(path, name, cell) for name, cell in row.items()}
        for row in read_table(path)
    ]


def _number(path: Path, name: str, cell: str) -> float | int | None:
    if cell == "":
        return None
    try:
        value = float(cell)
    except ValueError as error:
        raise DataError(f"{path}: {name} is {cell!r}, which is no number: write it anew") from error
    return int(value) if value.is_integer() and "." not in cell and math.isfinite(value) else value


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # repr of a Python float is its shortest exact form; numpy's floats have another.
    return float(value) if isinstance(value, float) else value


def _typed(row: Mapping[str, Any], where: str) -> ResultRow:
    missing = [column for column in RESULT_COLUMNS if column not in row and column not in LATE]
    if missing:
        raise DataError(f"{where}: columns missing: {', '.join(missing)}")
    if extra := [key for key in row if key not in _TYPES]:
        raise DataError(f"{where}: unknown columns: {', '.join(map(str, extra))}")
    typed: dict[str, Any] = {}
    for column, kind in _TYPES.items():
        value = row.get(column, "")
        try:
            typed[column] = math.nan if kind is float and value in ("", None) else kind(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: {column} is {value!r}, which is no {kind.__name__}") from error
    return ResultRow(**typed)

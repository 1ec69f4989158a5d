"""What a comparison says, computed once from its runs: report.md, W&B and the page show it and compute nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from experiments.reports.stages import StageNode
from weightgen.artifacts import Spec
from weightgen.errors import DataError
from weightgen.evaluation import agreement, comparisons, cost, novelty
from weightgen.evaluation.curves import METRICS, Group, band, collect
from weightgen.evaluation.methods import FLOOR, FROM_PAIRS, ordered
from weightgen.evaluation.results import (
    ResultRow,
    Table,
    columns,
    read_numbers,
    read_results,
    write_results,
    write_table,
)

TABLES = {  # table -> columns of its CSV file
    "summary": comparisons.SUMMARY_COLUMNS,
    "races": comparisons.RACE_COLUMNS,
    "wins": comparisons.WIN_COLUMNS,
    "wins_from_pairs": comparisons.WIN_COLUMNS,
    "agreement": agreement.AGREEMENT_COLUMNS,
    "novelty": (
        *columns("base split seed"),
        *novelty.NOVELTY_COLUMNS,
        *columns("seed_distance fid_start l1_start weight_error"),
    ),
    "cost": (
        *columns("base split target"),
        *cost.COST_COLUMNS,
        *columns("pairs_seconds base_seconds zoo_seconds denoiser_seconds guide_seconds"),
    ),
}


@dataclass(frozen=True)
class Output:
    """What a finished run made of a few photos: `path` holds "start" and "end", uint8 (n, 3, S, S), and "rows", which photos
    these are."""

    method: str
    steps: int  # of fine-tuning; 0: the end is the start
    path: Path


@dataclass(frozen=True)
class Sample:
    """One photo of a concept, by reference. photos, targets: files with `part`, uint8 (N, 3, S, S); photo: which of the
    outputs' rows."""

    concept: str
    prompt: str
    split: str
    seed: int
    part: str
    photo: int
    photos: Path
    targets: Path
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Built:
    """A finished artifact: what it was made of, and where it lies."""

    spec: Spec
    folder: Path


@dataclass(frozen=True)
class Comparison:
    """Rows and tables as their CSV files hold them; curves: {base, split, method, metric, points: [Point]}.

    samples, zoo, generator, generated (files with one LoRA each), stages: references to artifacts, empty where only
    the tables are at hand.
    """

    recipe: str
    rows: list[ResultRow]
    summary: Table
    races: Table
    wins: Table
    wins_from_pairs: Table
    agreement: Table
    curves: Table
    per_concept: Table
    novelty: Table = ()
    cost: Table = ()
    config: str = ""
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    zoo: Built | None = None
    generator: Built | None = None
    generated: tuple[Path, ...] = ()
    stages: tuple[StageNode, ...] = ()

    @cached_property
    def groups(self) -> list[Group]:
        """(base, split), in the order of the tables."""
        return list(dict.fromkeys((row["base"], row["split"]) for row in self.summary))

    @cached_property
    def methods(self) -> list[str]:
        return ordered(row["method"] for row in self.rows)

    @cached_property
    def metrics(self) -> list[str]:
        return metrics(self.rows)

    @property
    def feature_set(self) -> str:
        return self.rows[0]["feature_set"]

    def values(self, column: str) -> list:
        """Distinct values of a column of the rows, sorted."""
        return sorted({row[column] for row in self.rows})

    def concepts(self, group: Group) -> int:
        """How many concepts a base and split have."""
        return len({row["concept"] for row in self.per_concept if (row["base"], row["split"]) == group})


def metrics(rows: Sequence[ResultRow]) -> list[str]:
    """Those that every row has."""
    return [metric for metric in METRICS if all(math.isfinite(row[metric]) for row in rows)]


def compare(recipe: str, rows: list[ResultRow]) -> Comparison:
    """All that follows from the rows of results.csv alone. Raises DataError where there are none, or they do not compare."""
    if not rows:
        raise DataError(f"{recipe} has no results: run `make evaluate EXP={recipe}`")
    groups = collect(rows)
    translators = {group: {m: runs for m, runs in methods.items() if m != FLOOR} for group, methods in groups.items()}
    present = {method for methods in groups.values() for method in methods}
    return Comparison(
        recipe,
        rows,
        summary=comparisons.summarize(groups),
        races=comparisons.races(groups),
        wins=comparisons.wins(translators),
        wins_from_pairs=[
            row for method in FROM_PAIRS if method in present for row in comparisons.wins(translators, method)
        ],
        agreement=agreement.agreement(translators),
        curves=[
            {"base": base, "split": split, "method": method, "metric": metric, "points": band(runs, metric)}
            for (base, split), methods in groups.items()
            for method, runs in methods.items()
            for metric in metrics(rows)
        ],
        per_concept=comparisons.per_concept(groups),
    )


def write_tables(comparison: Comparison, folder: Path) -> None:
    """results.csv and TABLES."""
    write_results(folder / "results.csv", comparison.rows)
    for name, names in TABLES.items():
        write_table(folder / f"{name}.csv", names, getattr(comparison, name))


def read_comparison(folder: Path) -> Comparison:
    """The comparison of reports/<recipe>, without references to artifacts.

    Raises DataError where results.csv is missing or empty, or a table was cut or edited.
    """
    comparison = compare(folder.name, read_results(folder / "results.csv"))
    rest = {name: read_numbers(folder / f"{name}.csv") for name in ("novelty", "cost")}
    return replace(comparison, **rest)

"""The studies there are with their state, and the record of a finished one. `make studies`, `make record`."""

import argparse
import shutil
import sys
from pathlib import Path

from omegaconf import OmegaConf

from experiments.options.table import CONF
from experiments.sweeps.study_readme import FIGURE, SPEEDUP
from experiments.sweeps.study_report import finished, state
from weightgen.errors import WeightgenError
from weightgen.evaluation.results import read_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "studies"
RECORDED = ("table.csv", FIGURE, "README.md")


def known_studies() -> dict[str, str]:
    """Name -> question, of conf/study."""
    paths = sorted((CONF / "study").glob("*.yaml"))
    return {path.stem: OmegaConf.load(path).study.question for path in paths}


def recorded_recipe(folder: Path) -> str | None:
    """The recipe of the result recorded in a folder."""
    table = folder / "table.csv"
    return read_table(table)[0]["experiment"] if table.exists() else None


def listing(reports: Path, results: Path) -> str:
    """Every study: its question, its state under each recipe, what is recorded."""
    lines = []
    for name, question in known_studies().items():
        plans = sorted(reports.glob(f"*/studies/{name}/plan.json"))
        states = [f"{plan.parents[2].name}: {state(plan.parent)}" for plan in plans] or ["not run"]
        recipe = recorded_recipe(results / name)
        lines += [
            f"{name:<17} {question}",
            f"{'':<17} {'; '.join(states)}; {f'recorded: {recipe}' if recipe else 'not recorded'}",
        ]
    return "\n".join(lines)


def record(name: str, recipe: str, reports: Path, results: Path, force: bool) -> Path:
    """Copy a study's table, figure and README to results/<name>.

    Raises WeightgenError if it was not run, or, unless `force`, if it is unfinished or the recorded one is another
    recipe's.
    """
    if name not in known_studies():
        raise WeightgenError(f"study {name!r} is unknown: STUDY=<one of {', '.join(known_studies())}>")
    source, target = reports / recipe / "studies" / name, results / name
    make = f"make study STUDY={name} EXP={recipe}"
    if not all((source / file).exists() for file in ("plan.json", *RECORDED)):
        raise WeightgenError(f"there is no result in {source}: run `{make}`")
    plan, done, absent = finished(source)
    if len(done) + len(absent) < len(plan["values"]) and not force:
        raise WeightgenError(
            f"{name} is {state(source)}: finish it with `{plan['command']}`, or record it as it is with FORCE=1"
        )
    earlier = recorded_recipe(target)
    if earlier not in (None, recipe) and not force:
        raise WeightgenError(f"{target} holds the result of {earlier}: overwrite it with FORCE=1")
    target.mkdir(parents=True, exist_ok=True)
    (target / SPEEDUP).unlink(missing_ok=True)
    for file in [*RECORDED, *([SPEEDUP] if (source / SPEEDUP).exists() else [])]:
        shutil.copyfile(source / file, target / file)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(prog="experiments.studies", description=__doc__)
    parser.add_argument("action", choices=("list", "record"))
    parser.add_argument("study", nargs="?", default="")
    parser.add_argument("recipe", nargs="?", default="")
    parser.add_argument("--force", action="store_true", help="overwrite another recipe's result")
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    try:
        if given.action == "list":
            print(listing(given.reports, given.results))
        else:
            target = record(given.study, given.recipe, given.reports, given.results, given.force)
            print(f"recorded in {target}")
    except WeightgenError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None

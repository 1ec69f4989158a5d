"""`python -m tests.reliability [--kills 20] [--seed 0]`: tries everything, prints a table, exits 1 if anything failed."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.reliability import inputs, runs
from tests.reliability.runs import Trial


def attempt(name: str, trials: Iterable[Trial]) -> tuple[str, int, int]:
    """-> a row of the table: what, tried, failed. Each failure is said as it happens."""
    tried = failed = 0
    for what, fine, seen in trials:
        tried += 1
        if not fine:
            failed += 1
            print(f"FAILED {name}: {what}: {' '.join(seen.split())}", flush=True)
    print(f"{name}: {tried} tried, {failed} failed", flush=True)
    return name, tried, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weightgen-reliability-") as scratch:
        folder = Path(scratch)
        undisturbed = folder / "whole"
        table = [
            attempt("undisturbed runs", [runs.whole(undisturbed)]),
            attempt(
                "kills, then the same command", runs.kills(folder / "killed", undisturbed, given.kills, given.seed)
            ),
            attempt("disks too small, then larger", runs.full_disks(folder / "disks")),
            attempt("damaged files of artifacts", inputs.damage(undisturbed)),
            attempt("bad options", inputs.bad_options(folder)),
            attempt("bad files", inputs.bad_files(folder / "files")),
            attempt("writers at once", runs.writers(undisturbed)),
            attempt("hostile folders", inputs.hostile(folder / "hostile", undisturbed)),
        ]
    print("\n| | tried | fine | failed |\n|---|---:|---:|---:|")
    for name, tried, failed in table:
        print(f"| {name} | {tried} | {tried - failed} | {failed} |")
    sys.exit(any(failed for *_, failed in table))


main()

"""The apps, run as a user runs them, and what a run that fails must look like."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Runs:
    """Apps run as a user runs them, as subprocesses in `folder`, on the smoke recipe."""

    folder: Path

    def __call__(self, app: str, *overrides: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """`python -m experiments.<app> experiment=smoke <overrides>`; check: a failure fails the test with its output."""
        paths = [f"paths.artifacts={self.folder}/artifacts", f"paths.reports={self.folder}/reports"]
        paths += [f"logger.folder={self.folder}", f"hydra.run.dir={self.folder}/outputs/{app}"]
        paths += [f"hydra.sweep.dir={self.folder}/outputs/{app}-sweep"]
        flags = [word for word in overrides if word == "-m"]  # argparse wants them before the overrides
        changes = [word for word in overrides if word != "-m"]
        command = [sys.executable, "-m", f"experiments.{app}", *flags, "experiment=smoke", *paths, *changes]
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, **options)
        if check and result.returncode:
            pytest.fail(f"{app} {overrides} exited {result.returncode}:\n{result.stdout}\n{result.stderr}")
        return result


def one_line_error(result: subprocess.CompletedProcess, *parts: str) -> None:
    """The run ended with one line on stderr that begins with "error: " and holds every part, and no traceback."""
    assert result.returncode in (1, 2), result.stdout + result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in errors[0]


def nothing_half_written(folder: Path) -> None:
    """No artifact under folder/artifacts was published."""
    assert not [p for p in (folder / "artifacts").glob("*/*") if p.is_dir() and p.name != ".partial"]

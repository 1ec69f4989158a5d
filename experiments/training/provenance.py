"""Which code and which packages made a result: told beside it, in no key."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("weightgen", "torch", "pytorch-lightning", "diffusers", "peft", "transformers")
ROOT = Path(__file__).resolve().parents[2]


@cache
def provenance() -> dict[str, Any]:
    """The git commit (None outside a repository), whether files differ from it, and versions."""
    # an installed copy may lie within a repository that is not ours
    commit = _git("rev-parse", "HEAD") if (ROOT / "pyproject.toml").exists() else None
    return {
        "commit": commit,
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def learning_rates(config: dict[str, Any], path: str = "") -> dict[str, float]:
    """Every learning rate of a stage's configuration, by its place: what a table of runs is sorted by."""
    found: dict[str, float] = {}
    for name, value in config.items():
        place = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            found |= learning_rates(value, place)
        elif name == "lr":
            found[place] = value
    return found

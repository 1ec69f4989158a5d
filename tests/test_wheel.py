"""The wheel, installed where no clone is: the command, the configuration, the generator that comes with it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.apps import ROOT


@pytest.fixture(scope="module")
def weightgen(tmp_path_factory):
    """weightgen(*words), run in / by an environment with the wheel alone; its dependencies are those of this one."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (place / "source").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, place / "source")
    for name in ("conf", "weightgen", "experiments"):
        leave = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, place / "source" / name, symlinks=True, ignore=leave)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", place, place / "source"], check=True, timeout=300, cwd=place)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "venv", with_pip=False)
    packages = next((place / "venv" / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(wheel) as content:
        content.extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    assert "weightgen = experiments.console:main" in next(packages.glob("*.dist-info/entry_points.txt")).read_text()
    python = place / "venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: object) -> subprocess.CompletedProcess:
        command = [python, "-m", "experiments.console", *map(str, words)]
        return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=600)

    where = [python, "-c", "import weightgen; print(weightgen.__file__)"]
    found = subprocess.run(where, cwd="/", env=environment, capture_output=True, text=True)
    assert Path(found.stdout.strip()).is_relative_to(packages)
    return run


def test_the_generator_that_comes_with_it_translates_a_photo(weightgen, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    out = tmp_path / "out.png"
    ran = weightgen("translate", "--prompt", "a pencil sketch in sepia tones", tmp_path / "photo.png", "--out", out)
    assert ran.returncode == 0, ran.stderr
    assert "warning" not in ran.stderr  # it knows these words
    assert Image.open(out).size == (90, 70)
    assert (np.asarray(Image.open(out)) != values).any()


def test_a_recipe_runs_from_any_folder(weightgen, tmp_path):
    paths = [f"paths.artifacts={tmp_path}/a", f"paths.reports={tmp_path}/r", f"hydra.run.dir={tmp_path}/o"]
    ran = weightgen("run", "evaluate", "experiment=smoke", "methods=[e2gan,generated]", "logger=csv", *paths)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "r" / "smoke" / "report.md").exists()
    card = (tmp_path / "r" / "smoke" / "generator" / "README.md").read_text()
    assert "commit" not in card  # an installed copy has none, whatever repository it lies in
    ran = weightgen("info", tmp_path / "r" / "smoke" / "generator")
    assert "trained at 32 px" in ran.stdout


def test_what_ships_is_small_and_has_its_card():
    shipped = ROOT / "weightgen" / "shipped"
    assert sum(file.stat().st_size for file in shipped.iterdir()) <= 6_000_000
    card = (shipped / "README.md").read_text()
    for word in ("license: mit", "gap closed", "What it cannot do", "commit"):
        assert word in card

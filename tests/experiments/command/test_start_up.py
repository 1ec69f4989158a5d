"""Commands that do no work import nothing heavy, so they answer at once."""

import json
import subprocess
import sys

import pytest

from tests.helpers.apps import ROOT, Runs

HEAVY = ["torch", "pytorch_lightning", "diffusers", "transformers", "matplotlib", "wandb", "sklearn", "peft"]
ASK = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps([name for name in {heavy} if name in sys.modules])))
from experiments.finetune import main
main()
"""


def heavy_after(*words: str) -> list[str]:
    """Which of HEAVY a run of `finetune` with these words has imported at its end."""
    script = [sys.executable, "-c", ASK.format(heavy=HEAVY), *words]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", [["--help"], ["experiment=smoke", "--cfg", "job"], ["photos.size=50"]], ids=str)
def test_help_the_configuration_and_a_wrong_option_import_nothing_heavy(words: list[str]) -> None:
    assert heavy_after(*words) == []


def test_a_finished_stage_imports_nothing_heavy(smoke: Runs, tmp_path) -> None:
    folder = f"paths.artifacts={smoke.folder}/artifacts"
    assert heavy_after("experiment=smoke", "logger=csv", "init=mean", folder, f"hydra.run.dir={tmp_path}") == []

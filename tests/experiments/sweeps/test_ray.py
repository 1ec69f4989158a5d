"""The ray launcher where its extra is installed: `make test-ray`. Where it is not, see test_launchers."""

import json
import os
from pathlib import Path

import pytest

from tests.helpers.apps import Runs
from weightgen.artifacts import FILES

pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra ray: make test-ray")
pytestmark = pytest.mark.skipif("WEIGHTGEN_TEST_RAY" not in os.environ, reason="make test-ray")
RAY = ["-m", "hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2", "logger=csv", "strategy.workers=1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("ray"))


def test_a_sweep_of_fine_tunes_passes(runs: Runs) -> None:
    said = runs("finetune", *RAY, "init=e2gan,pix2pix", "concepts.unseen_combination=1", "concepts.unseen_factor=1")
    assert "did not finish" not in said.stderr
    records = [json.loads(p.read_text()) for p in (runs.folder / "outputs/finetune-sweep").glob("[01]/job.json")]
    paths = [Path(artifact["path"]) / FILES for record in records for artifact in record["artifacts"]]
    assert len(paths) == 4
    assert all(path.exists() for path in paths)


def test_a_job_that_fails_is_named_and_loses_no_other(runs: Runs) -> None:
    said = runs("train_base", *RAY, "concepts.unseen_factor=2,500", check=False)
    assert said.returncode == 1
    assert "error: 1 of 2 jobs did not finish" in said.stderr
    assert "500 unseen_factor concepts asked for" in said.stderr.partition("did not finish")[2]

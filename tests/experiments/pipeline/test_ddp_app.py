"""`train_denoiser strategy=ddp_cpu` as a user runs it, killed -9 on the way: the artifacts of one process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.helpers.apps import ROOT, Runs

KILLER = """
import os, signal, sys
import experiments.training.fit as training
save = training.Checkpoints.on_train_batch_end
def hook(self, *args):
    save(self, *args)
    if "/denoiser/" in str(self.path) and args[-1] + 1 == 5:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":  # not in followers, which import this file
    training.Checkpoints.on_train_batch_end = hook
    from experiments.train_denoiser import main
    sys.argv[0] = "train_denoiser"
    main()
"""
STAGES = ("denoiser", "function")


def finished(folder: Path, stage: str) -> list[Path]:
    return [path.parent for path in (folder / "artifacts" / stage).glob("*/files.json")]


def test_two_processes_killed_and_run_again_leave_the_artifacts_of_one(smoke: Runs, tmp_path: Path) -> None:
    for stage in ("photos", "pairs", "text", "base", "lora", "blocks"):
        shutil.copytree(smoke.folder / "artifacts" / stage, tmp_path / "artifacts" / stage)
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    overrides = ["strategy=ddp_cpu", f"logger.folder={tmp_path}"]
    places = [f"paths.artifacts={tmp_path}/artifacts", f"hydra.run.dir={tmp_path}/out"]
    killed = subprocess.run(
        [sys.executable, script, "experiment=smoke", *places, *overrides],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert not finished(tmp_path, "denoiser")
    assert list((tmp_path / "artifacts" / "denoiser" / ".partial").glob("*/.checkpoint/last.ckpt"))

    Runs(tmp_path)("train_denoiser", *overrides)
    for stage in STAGES:
        (ours,) = finished(tmp_path, stage)
        theirs = smoke.folder / "artifacts" / stage / ours.name  # the same key
        assert json.loads((ours / "files.json").read_text()).keys() >= {"denoiser.safetensors", "log/metrics.csv"}
        a, b = (load_file(folder / "denoiser.safetensors") for folder in (ours, theirs))
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], atol=1e-4, rtol=0, err_msg=f"{stage} {name}")
        scores = [json.loads((folder / "metrics.json").read_text())["train_l1"] for folder in (ours, theirs)]
        assert abs(scores[0] - scores[1]) < 1e-3 * scores[1]
        runs = {run.name.rpartition("-")[2] for run in (tmp_path / "wandb").glob("offline-run-*")}
        assert ours.name in runs  # W&B's id is the key, before the kill and after it
    assert len(runs) == len(STAGES)

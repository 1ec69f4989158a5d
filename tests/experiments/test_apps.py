"""The apps as a user meets them: sweeps, logs, bad input, and kill -9 at any moment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.helpers.apps import ROOT, Runs, nothing_half_written, one_line_error


def photos(folder: Path, count: int = 6, size: int = 48) -> Path:
    """Distinct smooth colour pictures."""
    folder.mkdir()
    ramp = np.linspace(0, 1, size)
    for i in range(count):
        picture = np.stack([np.outer(ramp, np.full(size, k)) for k in (1, (i + 1) / count, 0.5)], -1)
        Image.fromarray((255 * picture).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def collect(tmp_path: Path, root: Path) -> subprocess.CompletedProcess:
    return Runs(tmp_path)(
        "collect_pairs", "photos=folder", f"photos.root={root}", "photos.train=4", "photos.test=4", check=False
    )


def test_photos_of_any_mode_work(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    image = Image.open(root / "0.png")
    for mode, name in (("CMYK", "cmyk.jpg"), ("L", "grey.png"), ("RGBA", "alpha.png"), ("P", "palette.png")):
        shifted = Image.fromarray(255 - np.array(image.convert("RGB")) // (2 + len(name))).convert(mode)
        shifted.save(root / name)
    assert collect(tmp_path, root).returncode == 0


def test_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    one_line_error(collect(tmp_path, tmp_path / "none"), str(tmp_path / "none"))
    nothing_half_written(tmp_path)


def test_a_truncated_jpeg_is_named_with_its_remedy(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", count=2)
    Image.open(root / "0.png").save(root / "good.jpg")
    (root / "cut.jpg").write_bytes((root / "good.jpg").read_bytes()[:400])
    for name in ("0.png", "1.png"):
        (root / name).unlink()
    Image.open(root / "good.jpg").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(root / "flip.png")
    one_line_error(collect(tmp_path, root), "cut.jpg", "skip_bad")
    nothing_half_written(tmp_path)


def test_a_ten_pixel_photo_is_named_with_its_size(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", count=2)
    for i, path in enumerate(sorted(root.glob("*.png"))):
        Image.open(path).crop((i, 0, 10 + i, 10)).save(root / f"tiny{i}.png")
        path.unlink()
    one_line_error(collect(tmp_path, root), "tiny", "10")
    nothing_half_written(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "said"), [(" ", "blank"), ("x" * 10_000, "10000"), ("a vase in the style of the unknown", "unknown")]
)
def test_bad_prompts_are_named(tmp_path: Path, prompt: str, said: str) -> None:
    items = f'concepts.items=[{{prompt: "{prompt}", split: train}}]'
    one_line_error(Runs(tmp_path)("collect_pairs", "concepts=list", items, check=False), said)


def test_unknown_option_exits_with_its_name(tmp_path: Path) -> None:
    result = Runs(tmp_path)("collect_pairs", "photos.nosuch=1", check=False)
    assert result.returncode in (1, 2)
    assert "nosuch" in result.stderr


def test_missing_upstream_exits_one(tmp_path: Path) -> None:
    one_line_error(Runs(tmp_path)("train_denoiser", "build_missing=false", check=False), "make blocks")


def test_a_sweep_logs_fid_and_images_of_every_run(smoke) -> None:
    folder = smoke.folder / "swept"
    folder.mkdir()
    smoke(
        "finetune",
        "-m",
        "init=e2gan,mean,generated",
        "seed=0,7",
        f"logger.folder={folder}",
        "budget.finetune.lora.steps=3",
    )
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    concepts = 4
    assert len(runs) == 3 * 2 * concepts
    for run in runs[:: len(runs) // 3]:
        wandb = Path(sys.executable).with_name("wandb")
        answer = subprocess.run([wandb, "leet", "inspect", "--json", run], capture_output=True, text=True, check=True)
        rows = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
        history = json.dumps([row for row in rows if row.get("type") == "history"])
        assert "eval/fid" in history
        assert "eval/fid_efficientnet_lite0" in history
        assert "time/train_seconds" in history
        assert list((run / "files").rglob("*.png"))


KILLER = """
import os, signal, sys
import experiments.training.fit as training
stage, at = sys.argv.pop(1).split(":")
save = training.Checkpoints.on_train_batch_end
def hook(self, *args):
    save(self, *args)
    if f"/{stage}/" in str(self.path) and args[-1] + 1 == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
training.Checkpoints.on_train_batch_end = hook
from experiments.finetune import main
sys.argv[0] = "finetune"
main()
"""


KILLED = ["strategy.workers=1", "logger=csv", "init=generated", "budget.finetune.lora.steps=6"]
KILLED += ["concepts.unseen_combination=1", "concepts.unseen_factor=1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of a run that nobody killed."""
    runs = Runs(tmp_path_factory.mktemp("whole"))
    runs("finetune", *KILLED)
    return runs.folder / "artifacts"


@pytest.mark.parametrize("stage", ["lora", "denoiser", "finetune"])
def test_kill_9_then_again_gives_the_uninterrupted_weights(tmp_path: Path, whole: Path, stage: str) -> None:
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    artifacts = tmp_path / "artifacts"
    arguments = [f"{stage}:5", "experiment=smoke", f"paths.artifacts={artifacts}", f"hydra.run.dir={tmp_path}/out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, *arguments, *KILLED]
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    stamps = {p: p.stat().st_mtime_ns for p in artifacts.glob("*/*/files.json")}
    assert stamps
    assert list((artifacts / stage / ".partial").glob("*/.checkpoint/last.ckpt"))

    Runs(tmp_path)("finetune", *KILLED)
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items()), "a finished artifact was built again"
    ours, theirs = ({p.relative_to(at): p for p in at.glob("*/*/*.safetensors")} for at in (artifacts, whole))
    assert ours.keys() == theirs.keys()
    for name, path in ours.items():
        a, b = load_file(path), load_file(theirs[name])
        assert all(np.array_equal(a[k], b[k]) for k in b), name


def test_a_training_that_explodes_is_one_line_and_no_artifact(tmp_path) -> None:
    result = Runs(tmp_path)("train_base", "budget.base.optimizer.lr=1e30", check=False)
    one_line_error(result, "budget.base", "not finite after training", "lower the learning rate")
    assert not list((tmp_path / "artifacts" / "base").glob("*/files.json"))


def test_a_translator_that_draws_nothing_is_said_to_have_collapsed(tmp_path) -> None:
    result = Runs(tmp_path)(
        "evaluate", "methods=[e2gan]", "budget.finetune.lora.optimizer.lr=1e6", "splits=[unseen_factor]"
    )
    assert "collapsed: 2 of 2 runs of E2GAN" in result.stdout
    assert "**Collapsed:** 2 of 2 runs of E2GAN" in next(tmp_path.rglob("report.md")).read_text()

"""Editors as a user runs them: a real pipeline killed -9 and run again, premade folders, a hub model without a network."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.pipeline.build import Pipeline
from experiments.pipeline.options import plain
from tests.helpers import tiny_pipelines
from tests.helpers.apps import ROOT, Runs
from tests.helpers.configs import composed
from weightgen.data.splits import PARTS
from weightgen.errors import DataError, MissingModel

KILLER = """
import os, signal, sys
import weightgen.data.editors.resumable as resumable
add, calls = resumable._Saved.add, []
def hook(self, *args):
    add(self, *args)
    calls.append(args)
    if len(calls) == int(sys.argv[-1]):
        os.kill(os.getpid(), signal.SIGKILL)
resumable._Saved.add = hook
from tests.helpers.configs import composed
from experiments.pipeline.build import Pipeline
p = Pipeline(composed(*sys.argv[1:-1]))
p.ensure(p.pairs(p.concepts[0]))
"""
SMALL = ["photos.train=5", "photos.validation=3", "photos.test=3", "photos.size=16", "strategy.workers=1", "logger=csv"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.build("instruct_pix2pix", tmp_path_factory.mktemp("model"))


def test_kill_9_midway_and_again_gives_the_same_files_and_edits_no_photo_twice(tmp_path, model) -> None:
    overrides = ["experiment=smoke", "editor=instruct_pix2pix", f"editor.model={model}", *SMALL]
    overrides += ["editor.steps=2", "editor.batch_size=2", "editor.device=cpu"]
    ours, theirs = (f"paths.artifacts={tmp_path / name}" for name in ("ours", "theirs"))
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run(
        [sys.executable, script, *overrides, ours, "3"], cwd=ROOT, env=environment, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    done = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("ours/pairs/.partial/*/.edits/*.safetensors")}
    assert sorted(done) == [
        f"train-0-00000{i}.safetensors" for i in (0, 2, 4)
    ]  # of 5 train photos; none of validation and test

    edited = []
    folders = []
    for place in (ours, theirs):
        pipeline = Pipeline(composed(*overrides, place))
        spec = pipeline.pairs(pipeline.concepts[0])
        editor = editor_counting(pipeline, edited)
        folders.append(pipeline.ensure(spec))
        assert editor is not None
    assert edited == [2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 1]  # resumed: validation and test photos alone; whole: all
    files = [{p.name: p.read_bytes() for p in folder.glob("*.safetensors")} for folder in folders]
    assert files[0] == files[1]
    assert list(files[0]) == ["targets.safetensors"]
    metrics = json.loads((folders[0] / "metrics.json").read_text())
    assert (metrics["pairs"], metrics["edits"]) == (11, 11)
    assert metrics["dropped"] == {part: [] for part in PARTS}


def editor_counting(pipeline: Pipeline, edited: list[int]) -> object:
    """The pipeline's editor, telling how many photos each of its calls edits."""
    from experiments.stages.pairs import editor

    chosen = editor(pipeline.options("editor"))
    if not hasattr(chosen, "counted"):
        edit = chosen.edit
        chosen.counted = True
        chosen.edit = lambda photos, *args: (edited.append(len(photos)), edit(photos, *args))[1]
    return chosen


def test_the_model_is_loaded_once_and_let_go_before_training(model) -> None:
    from experiments.stages.pairs import editor, release_editor

    def options() -> dict[str, object]:
        return plain(composed("editor=instruct_pix2pix", f"editor.model={model}", "editor.device=cpu").editor)

    first = editor(options())
    assert editor(options()) is first
    pipe = first.loaded()
    assert first.loaded() is pipe
    release_editor()
    assert editor(options()) is first
    assert first._pipe is None


def test_a_pair_left_out_takes_its_photo_along(tmp_path, monkeypatch) -> None:
    from experiments.stages import pairs as collect_pairs
    from experiments.training.payloads import TrainPairs, pair_tensors, train_sources
    from weightgen.data.editors.resumable import edit_photos

    class Negative:
        """Leaves the first photo of a batch of the first concept as it is."""

        batch_size, retries, min_change, min_kept = 8, 0, 0.01, 0.5

        def edit(self, photos, concept, attempt):
            edited = 1 - photos.float() / 255
            if concept.prompt == pipeline.concepts[0].prompt:
                edited[0] = photos[0].float() / 255
            return edited

        def pairs(self, photos, concept, folder):
            return edit_photos(self, photos, concept, folder)

    monkeypatch.setattr(collect_pairs, "editor", lambda options: Negative())
    pipeline = Pipeline(composed("experiment=smoke", *SMALL, f"paths.artifacts={tmp_path}"))
    flawed, whole = pipeline.concepts[:2]
    pipeline.ensure_all([pipeline.pairs(flawed), pipeline.pairs(whole)])
    whole, flawed = (pipeline.artifact(pipeline.pairs(concept)) for concept in (whole, flawed))
    shared = pipeline.artifact(pipeline.photos)
    all_photos, targets = pair_tensors(whole, shared)
    assert [len(targets[part]) for part in PARTS] == [5, 3, 3]
    photos, targets = pair_tensors(flawed, shared)
    for part in PARTS:
        assert (photos[part] == all_photos[part][1:]).all()
        assert (targets[part] == 255 - photos[part]).all()
    metrics = flawed.metrics
    assert (metrics["unchanged"], metrics["dropped"]) == (3, {part: [0] for part in PARTS})
    assert isinstance(train_sources([whole, flawed], shared), TrainPairs)
    assert (train_sources([whole], shared) == all_photos["train"]).all()


def premade(root: Path, concepts: int = 5, photos: int = 6) -> Path:
    """root/<concept>/{source,target}, 16 px; concept k adds k + 1 to every pixel."""
    for concept in range(concepts):
        for number in range(photos):
            image = np.random.default_rng(100 * concept + number).integers(0, 200, (16, 16, 3)).astype(np.uint8)
            for side, pixels in (("source", image), ("target", image + concept + 1)):
                place = root / f"plus_{concept + 1}" / side
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return root


def test_premade_pairs_need_no_photos_and_no_concepts_of_the_recipe(tmp_path) -> None:
    from experiments.training.payloads import TrainPairs, pair_tensors, train_sources

    overrides = ["experiment=smoke", "editor=premade", f"editor.root={premade(tmp_path / 'pairs')}", *SMALL]
    pipeline = Pipeline(composed(*overrides, f"paths.artifacts={tmp_path / 'artifacts'}"))
    assert {concept.prompt for concept in pipeline.concepts} == {f"plus {k}" for k in range(1, 6)}
    assert {concept.split for concept in pipeline.test_concepts} == {"unseen_factor"}
    pipeline.ensure_all([pipeline.pairs(concept) for concept in pipeline.concepts])
    assert not (tmp_path / "artifacts" / "photos").exists()
    for concept in pipeline.concepts:
        photos, targets = pair_tensors(pipeline.artifact(pipeline.pairs(concept)), None)
        for part in PARTS:
            difference = targets[part].int() - photos[part].int()
            assert (difference == int(concept.prompt.split()[1])).all()
    sources = train_sources([pipeline.artifact(pipeline.pairs(concept)) for concept in pipeline.concepts], None)
    assert isinstance(sources, TrainPairs)
    assert len(sources) == 5

    moved = (tmp_path / "pairs").rename(tmp_path / "elsewhere")
    again = Pipeline(composed(*overrides, f"editor.root={moved}"))
    concept = pipeline.concepts[0]
    assert again.pairs(concept).key == pipeline.pairs(concept).key
    assert again.finetune("generated", concept, 0).key == pipeline.finetune("generated", concept, 0).key


def test_mistakes_are_one_line_and_leave_nothing(tmp_path) -> None:
    root = premade(tmp_path / "pairs")
    (root / "plus_2" / "target" / "3.png").unlink()
    result = Runs(tmp_path)("collect_pairs", "editor=premade", f"editor.root={root}", check=False)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 1
    assert len(errors) == 1
    assert "plus_2/source/3.png has no partner" in errors[0]
    assert not list((tmp_path / "artifacts").glob("pairs/*/files.json"))


def test_a_hub_model_without_a_network_is_named_with_the_local_option(tmp_path) -> None:
    cfg = composed("experiment=smoke", "editor=instruct_pix2pix", f"paths.artifacts={tmp_path}", *SMALL)
    pipeline = Pipeline(cfg)
    with pytest.raises(MissingModel, match=r"timbrooks/instruct-pix2pix.*editor\.model=<local folder>"):
        pipeline.ensure(pipeline.pairs(pipeline.concepts[0]))
    assert not list(tmp_path.glob("pairs/*/files.json"))


@pytest.mark.parametrize("hangs", [False, True])
def test_a_hub_that_refuses_or_hangs_is_given_up_within_seconds(monkeypatch, hangs: bool) -> None:
    import time
    import urllib.error
    import urllib.request

    from huggingface_hub import constants

    from weightgen import network
    from weightgen.data.editors.diffusion import models

    def answer(address: str, timeout: float) -> None:
        if hangs:
            time.sleep(30)  # as the look-up of a name may, whatever the time-out
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.setattr(network, "SECONDS", 0.2 if hangs else 5.0)
    start = time.perf_counter()
    said = "gave no answer in" if hangs else "no route to host"
    with pytest.raises(MissingModel, match=rf"owner/name.*{said}.*editor\.model=<local folder>"):
        models.load_pipeline("StableDiffusionPipeline", "owner/name", None)
    assert time.perf_counter() - start < 20


def test_no_folder_and_no_data_set_is_asked_for() -> None:
    from hydra.errors import InstantiationException

    with pytest.raises((DataError, InstantiationException), match=r"editor\.root=<folder of pairs>"):
        _ = Pipeline(composed("experiment=smoke", "editor=premade")).concepts

"""A picture as a style: painted as its networks paint it, known by content, and wrong lines named."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from experiments.pipeline.build import Pipeline
from tests.helpers.configs import composed
from weightgen.data.concepts.files import FileConcepts
from weightgen.data.concepts.styles import STYLES
from weightgen.data.editors.neural.editor import NeuralEditor, network
from weightgen.data.photos.bundled import BundledPhotos
from weightgen.errors import DataError

MINE = SimpleNamespace(name="mine", prompt="my grandmother's quilt")


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    """Two pictures, and a file of concepts in which one prompt has the first, one has both, one has none."""
    for name, hues in (("red.png", (255, 30, 0)), ("stripes.png", (20, 90, 255))):
        pixels = np.zeros((64, 48, 3), np.uint8)
        pixels[:, ::6], pixels[::4] = hues, (240, 240, 200)
        Image.fromarray(pixels).save(tmp_path / name)
    lines = [
        {"prompt": MINE.prompt, "split": "train", "reference": "red.png"},
        {"prompt": "a quilt of both", "split": "validation", "reference": ["red.png", "stripes.png"]},
        {"prompt": STYLES[19], "split": "train"},
    ]
    (tmp_path / "styles.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "styles.jsonl"


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return BundledPhotos(32, train=12, validation=2, test=2).load().crops["train"]


def test_it_is_the_networks_picture(styles: Path) -> None:
    """By hand, of a photo of the network's own size: no resizing is left."""
    folder = network().parent
    predict, transform = (
        onnxruntime.InferenceSession(str(folder / f"arbitrary_{name}.onnx"), providers=["CPUExecutionProvider"])
        for name in ("predict", "transform")
    )
    reference = Image.open(styles.parent / "red.png").convert("RGB").resize((256, 256))
    vector = predict.run(None, {"style_image": np.asarray(reference, np.float32)[None] / 255})[0]
    photo = torch.randint(0, 256, (1, 3, 384, 384), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    given = {"content_image": (photo.float() / 255).permute(0, 2, 3, 1).numpy(), transform.get_inputs()[1].name: vector}
    expected = torch.from_numpy(transform.run(None, given)[0]).permute(0, 3, 1, 2)
    ours = NeuralEditor(references=str(styles)).edit(photo, MINE)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_named_styles_stay_what_they_are_and_pictures_differ(styles: Path, photos: torch.Tensor) -> None:
    editor, swirls = NeuralEditor(render=64, references=str(styles)), SimpleNamespace(prompt=STYLES[19])
    assert torch.equal(editor.edit(photos, swirls), NeuralEditor(render=64).edit(photos, swirls))
    mine, both = (editor.edit(photos, SimpleNamespace(prompt=p)) for p in (MINE.prompt, "a quilt of both"))
    assert (mine - both).abs().mean() > 0.005


def test_where_edits_vary_each_photo_has_one_of_the_pictures(styles: Path, photos: torch.Tensor, monkeypatch) -> None:
    taken = []
    monkeypatch.setattr("weightgen.data.editors.neural.editor.style_vector", lambda picture: picture.name)
    monkeypatch.setattr(
        "weightgen.data.editors.neural.editor.painted", lambda image, style: taken.append(style) or image
    )
    NeuralEditor(variation=1.0, references=str(styles)).edit(photos, SimpleNamespace(prompt="a quilt of both"))
    assert set(taken) == {"red.png", "stripes.png"}


def test_one_file_names_concepts_and_their_pictures_wherever_it_lies(styles: Path, tmp_path: Path) -> None:
    concepts = FileConcepts(styles).load()
    assert [concept.split for concept in concepts] == ["train", "validation", "train"]
    moved = shutil.copytree(styles.parent, tmp_path / "moved")
    own, again = (NeuralEditor(references=str(folder / "styles.jsonl")) for folder in (styles.parent, moved))
    prints = [own.fingerprint(concept) for concept in concepts]
    assert prints == [again.fingerprint(concept) for concept in concepts]
    assert len(set(prints)) == 3
    assert prints[2] is None
    Image.new("RGB", (8, 8), "green").save(moved / "red.png")
    assert NeuralEditor(references=str(moved / "styles.jsonl")).fingerprint(concepts[0]) != prints[0]


def test_a_key_knows_the_picture_and_not_its_place(styles: Path) -> None:
    options = ["editor=neural", "concepts=file", f"concepts.path={styles}", f"editor.references={styles}"]
    pipeline = Pipeline(composed("experiment=smoke", *options))
    specs = [pipeline.pairs(concept) for concept in pipeline.concepts]
    assert [("content" in spec.config) for spec in specs] == [True, True, False]
    assert str(styles.parent) not in json.dumps([dict(spec.config) for spec in specs])


def test_mistakes_are_one_line_before_any_work(styles: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not know 'a sketch'"):
        NeuralEditor(references=str(styles)).fingerprint(SimpleNamespace(prompt="a sketch"))
    for content, message in (
        ('{"prompt": "x", "reference": "gone.png"}', r"line 1: the picture .*gone\.png does not exist"),
        ('{"prompt": "x", "reference": 3}', "line 1: reference takes the path"),
        ('{"prompt": "x"}', "no line of .* has a reference"),
    ):
        (tmp_path / "bad.jsonl").write_text(content)
        with pytest.raises(DataError, match=message):
            NeuralEditor(references=str(tmp_path / "bad.jsonl"))
    (tmp_path / "no.png").write_text("no picture")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "x", "reference": "no.png"}')
    with pytest.raises(DataError, match=r"editor\.references: .*no\.png cannot be decoded"):
        NeuralEditor(references=str(tmp_path / "bad.jsonl")).fingerprint(SimpleNamespace(prompt="x"))

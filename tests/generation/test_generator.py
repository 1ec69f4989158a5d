"""A saved generator is the generator: one prompt, one translator, bit for bit; and no foreign code runs."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.tiny_generator import BLOCK, tiny_generator
from weightgen.diffusion.joint import JointTransformer
from weightgen.errors import DataError, MissingArtifact, WeightgenError
from weightgen.generation.block_generator import BlockGenerator
from weightgen.generation.generator import WeightGenerator
from weightgen.translation.lora import inject_lora, load_lora_state, lora_state
from weightgen.translation.pictures import translate

PROMPT = "a mosaic in sepia tones"
IMAGES = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny generator with random weights everywhere, and the folder it was saved in."""
    generator = tiny_generator("ab")
    folder = tmp_path_factory.mktemp("generator") / "new" / "folder"
    generator.save(folder)
    return generator, folder


def test_loading_gives_bit_identical_translators(saved):
    generator, folder = saved
    loaded = WeightGenerator.load(str(folder))
    for prompt, seed in ((PROMPT, 0), ("ein Bild in Türkis, 青い", 3)):
        ours, theirs = generator(prompt, seed), loaded(prompt, seed)
        for name, weight in lora_state(ours.model).items():
            assert torch.equal(lora_state(theirs.model)[name], weight)
        assert torch.equal(theirs(IMAGES), ours(IMAGES))


def test_everything_is_in_plain_json_and_safetensors(saved):
    _, folder = saved
    assert {file.name for file in folder.iterdir()} == {
        "generator.json",
        "base.safetensors",
        "denoiser.safetensors",
        "known.safetensors",
        "normalizer.safetensors",
        "refiner.safetensors",
    }


def test_prompt_and_seed_determine_the_weights(saved):
    generator, _ = saved
    first = generator(PROMPT)(IMAGES)
    torch.rand(3)
    assert torch.equal(generator(PROMPT)(IMAGES), first)
    assert not torch.equal(generator(PROMPT, seed=1)(IMAGES), first)
    assert not torch.equal(generator("an ink drawing in teal")(IMAGES), first)


def test_a_denoiser_that_predicts_0_gives_the_zoos_mean(saved):
    generator, _ = saved
    silent = JointTransformer(BLOCK, generator.blocks.layout.blocks, 384, width=16, layers=1)  # starts at 0
    blocks = BlockGenerator(silent, generator.blocks.sampler, generator.blocks.layout, generator.blocks.normalizer)
    text = generator.encoder.encode([PROMPT, "an ink drawing in teal"])
    out = blocks(text, torch.Generator().manual_seed(0))
    assert torch.equal(out, generator.blocks.normalizer.mean.expand(2, -1, -1))

    translator = replace(generator, blocks=blocks)(PROMPT)
    model = inject_lora(generator.base, generator.lora)
    load_lora_state(model, blocks.layout.from_blocks(generator.blocks.normalizer.mean))
    text = generator.encoder.encode([PROMPT])
    assert torch.equal(translator(IMAGES), translate(model, IMAGES, text.tokens, text.mask))


def test_padding_stays_zero_and_concepts_may_share_a_batch(saved):
    generator, _ = saved
    text = generator.encoder.encode([PROMPT, "an ink drawing in teal"])
    blocks = generator.blocks(text, torch.Generator().manual_seed(0))
    valid = generator.blocks.layout.valid()
    assert blocks.shape == (2, *valid.shape)
    assert not bool(valid.all())
    assert not blocks[:, ~valid].any()
    alone = generator.blocks(text.select([0]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(alone, blocks[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_a_blank_prompt_is_refused_with_an_example(saved, prompt):
    with pytest.raises(DataError, match=r"blank.*a mosaic in sepia tones"):
        saved[0](prompt)


def test_a_folder_without_a_generator_names_the_make_target(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(MissingArtifact, match=r"holds no generator.json: run `make demo`"):
            WeightGenerator.load(folder)


def altered(folder, target, change):
    """A copy of a saved generator whose generator.json is changed."""
    shutil.copytree(folder, target)
    content = json.loads((target / "generator.json").read_text())
    change(content)
    (target / "generator.json").write_text(json.dumps(content))
    return target


NAMES = ["os.system", "builtins.eval", "weightgen.artifacts.write_json", "E2GANGenerator", "", None, ["e2gan"], {}]


@pytest.mark.parametrize("slot", ["translator", "denoiser", "text_encoder"])
@pytest.mark.parametrize("name", NAMES, ids=str)
def test_only_a_name_of_the_closed_table_is_taken(saved, tmp_path, slot, name):
    folder = altered(saved[1], tmp_path / "copy", lambda content: content[slot].update(name=name))
    before = set(sys.modules)
    with pytest.raises(WeightgenError, match=rf"generator.json: {slot}=.*: choose ") as error:
        WeightGenerator.load(folder)
    assert "\n" not in str(error.value)
    assert set(sys.modules) == before


def test_a_module_path_of_an_older_file_is_refused(saved, tmp_path):
    def older(content):
        content["translator"] = {"_target_": "weightgen.translation.nets.e2gan.E2GANGenerator", "width": 8}

    with pytest.raises(WeightgenError, match=r"translator=None: choose comodgan, e2gan, unet"):
        WeightGenerator.load(altered(saved[1], tmp_path / "copy", older))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["translator"].update(command="true"), "translator=e2gan has no option command"),
        (lambda content: content["denoiser"].pop("text_dim"), "denoiser=joint: missing .*'text_dim'"),
        (
            lambda content: content["translator"].update(width=16),
            "base.safetensors is not of this translator: .* shape .* should have",
        ),
        (lambda content: content["translator"].update(width="wide"), "TypeError"),
        (lambda content: content.update(translator="e2gan"), "AttributeError"),
        (lambda content: content.pop("lora"), "KeyError"),
        (lambda content: content["lora"].update(rank=3), "TypeError.*rank"),
    ],
)
def test_what_cannot_be_made_is_one_line(saved, tmp_path, change, message):
    with pytest.raises(WeightgenError, match=message) as error:
        WeightGenerator.load(altered(saved[1], tmp_path / "copy", change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("slot", "option"), [("translator", "width"), ("denoiser", "blocks"), ("denoiser", "layers")])
def test_sizes_are_compared_before_memory_is_taken(saved, tmp_path, slot, option):
    folder = altered(saved[1], tmp_path / "copy", lambda content: content[slot].update({option: 10**9}))
    with pytest.raises(WeightgenError, match=rf"{slot}\.{option}=1000000000: 65536 at most"):
        WeightGenerator.load(folder)


@pytest.mark.parametrize("file", ["base.safetensors", "denoiser.safetensors", "normalizer.safetensors"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(saved, tmp_path, file, value):
    folder = altered(saved[1], tmp_path / "copy", lambda content: None)
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / file).items()}
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].flatten()[0] = value
    save_file(tensors, folder / file)
    with pytest.raises(WeightgenError, match=rf"{file}: {name} holds values that are not finite"):
        WeightGenerator.load(folder)


def test_json_without_end_is_one_line(saved, tmp_path):
    folder = altered(saved[1], tmp_path / "copy", lambda content: None)
    (folder / "generator.json").write_text("[" * 100_000)
    with pytest.raises(WeightgenError, match=r"generator\.json is damaged") as error:
        WeightGenerator.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["generator.json", "base.safetensors", "normalizer.safetensors"])
def test_a_file_cut_short_is_one_line(saved, tmp_path, file):
    folder = altered(saved[1], tmp_path / "copy", lambda content: None)
    (folder / file).write_bytes((folder / file).read_bytes()[:20])
    with pytest.raises(WeightgenError, match=r"is damaged|holds no generator that this version can make") as error:
        WeightGenerator.load(folder)
    assert "\n" not in str(error.value)

"""Diffusion editors on real pipelines of random weights, saved, loaded back through the options a user sets, run on CPU."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from tests.helpers import tiny_pipelines
from tests.helpers.configs import composed
from weightgen.choices import make
from weightgen.data.editors import EDITORS
from weightgen.data.editors.diffusion import models
from weightgen.errors import DataError, MissingModel

CONCEPT = SimpleNamespace(name="sepia", prompt="a mosaic of square tiles in sepia tones")
PHOTOS = torch.randint(0, 256, (3, 3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
SMALL = {"steps": 2, "dtype": "float32", "device": "cpu"}
OWN = {"flux2_klein": {"size": 64, "max_sequence_length": 16}, "img2img": {"strength": 0.9}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """kind -> folder of a saved pipeline, built once."""
    folder = tmp_path_factory.mktemp("models")
    return lambda kind: folder / kind if (folder / kind).exists() else tiny_pipelines.build(kind, folder / kind)


def editor(kind, model, **options):
    options = {"model": model} | SMALL | OWN.get(kind, {}) | options
    node = composed(f"editor={kind}", *(f"editor.{k}={v}" for k, v in options.items())).editor
    return make(EDITORS, OmegaConf.to_container(node))


def test_the_tokenizer_of_a_saved_pipeline_knows_clips_true_tokens(saved, tmp_path):
    from transformers import CLIPTokenizer

    prompt = "a mosaic of square tiles in sepia tones"
    ids = [49406, 320, 17506, 539, 3999, 10607, 530, 567, 8918, 14744, 49407]  # open_clip's, start and end around them
    for folder in (saved("instruct_pix2pix") / "tokenizer", tiny_pipelines.write_clip_tokenizer(tmp_path)):
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        assert len(tokenizer) == 49408
        assert tokenizer(prompt).input_ids == ids
        assert tokenizer.model_max_length == 77


@pytest.mark.parametrize("kind", tiny_pipelines.KINDS)
def test_an_edit_is_a_function_of_photo_prompt_and_seed(kind, saved):
    ours = editor(kind, saved(kind))
    edited = ours.edit(PHOTOS, CONCEPT)
    assert edited.shape == PHOTOS.shape
    assert edited.dtype == torch.float32
    assert 0 <= edited.min() < edited.max() <= 1
    loaded_again = editor(kind, saved(kind))
    assert torch.equal(loaded_again.edit(PHOTOS, CONCEPT), edited)
    # whatever the batch and the order: the same noise, so the same picture up to the rounding of other kernels
    one_by_one = torch.cat([ours.edit(PHOTOS[i : i + 1], CONCEPT) for i in (2, 1, 0)]).flip(0)
    torch.testing.assert_close(one_by_one, edited, atol=1e-4, rtol=0)
    other_prompt = SimpleNamespace(name="x", prompt="a black and white engraving")
    assert (ours.edit(PHOTOS, other_prompt) - edited).abs().max() > 1e-5  # rounding is 1e-6, random nets hear little
    if kind != "ddim_inversion":  # nothing in it is random
        assert (ours.edit(PHOTOS, CONCEPT, attempt=1) - edited).abs().max() > 1e-3
        ours.seed = 1
        assert (ours.edit(PHOTOS, CONCEPT) - edited).abs().max() > 1e-3


def test_equal_photos_get_equal_noise_others_another(saved):
    ours = editor("instruct_pix2pix", "a/b")
    seeds = [ours._seed(photo, 0) for photo in (PHOTOS[0], PHOTOS[1], PHOTOS[0].clone())]
    assert seeds[0] == seeds[2] != seeds[1]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert ours._seed(PHOTOS[0], 1) != seeds[0]


def test_a_klein_batch_equals_diffusers_own_call_on_each_photo(saved):
    from diffusers import Flux2KleinPipeline
    from PIL import Image

    ours = editor("flux2_klein", saved("flux2_klein"), size=64)
    photos = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    edited = ours.edit(photos, CONCEPT)
    theirs = Flux2KleinPipeline.from_pretrained(saved("flux2_klein"))
    theirs.set_progress_bar_config(disable=True)
    for photo, ours_of_it in zip(photos, edited, strict=True):
        image = theirs(
            image=Image.fromarray(photo.permute(1, 2, 0).numpy()),
            prompt="turn this photo into a mosaic of square tiles in sepia tones".replace("a mosaic", "a mosaic"),
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(ours._seed(photo, 0)),
            max_sequence_length=16,
            output_type="pt",
        ).images[0]
        torch.testing.assert_close(ours_of_it, image, atol=1e-4, rtol=0)


def test_inversion_is_undone_exactly_by_a_net_that_does_not_look_at_the_latents():
    """Then eq. 13's steps back and forth are one another's inverses, whatever their number."""
    from diffusers import DDIMScheduler

    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    pipe = SimpleNamespace(
        unet=lambda x, t, encoder_hidden_states: SimpleNamespace(sample=noise * (1 + t / 1000)),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1, set_alpha_to_one=False),
        _execution_device="cpu",
    )
    ours = editor("ddim_inversion", "owner/name", steps=5, guidance_scale=7.5)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    path = ours.invert(pipe, latents, torch.zeros(2, 3, 4))
    assert len(path) == 6
    assert (path[-1] - latents).abs().mean() > 0.5
    back = ours.denoise(pipe, path[-1], torch.zeros(2, 3, 4), [torch.zeros(2, 3, 4)] * 5)
    torch.testing.assert_close(back, latents, atol=1e-4, rtol=0)


def test_null_text_makes_guided_sampling_retrace_the_photo_each_by_itself(saved):
    options = {"steps": 4, "guidance_scale": 30, "null_text_steps": 10, "null_text_lr": 0.1}
    ours = editor("ddim_inversion", saved("ddim_inversion"), **options)
    with torch.no_grad():
        pipe = ours.loaded()
        prompt, empty = (pipe.encode_prompt([text] * 2, "cpu", 1, False)[0] for text in ("a photo", ""))
        latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        path = ours.invert(pipe, latents, prompt)
        found = ours.null_text(pipe, path, prompt, empty)
        errors = [
            float((ours.denoise(pipe, path[-1], prompt, unconditional) - latents).abs().mean())
            for unconditional in ([empty] * 4, found)
        ]
        alone = ours.null_text(pipe, [p[:1] for p in path], prompt[:1], empty[:1])
    assert errors[1] < 0.8 * errors[0]
    assert all((a - b[:1]).abs().max() < 1e-2 for a, b in zip(alone, found, strict=True))


def test_the_key_knows_a_local_model_by_its_content_alone(saved, tmp_path):
    model, kind = saved("instruct_pix2pix"), EDITORS.find("instruct_pix2pix")

    def identity(folder, **options):
        models.content.cache_clear()
        node = composed("editor=instruct_pix2pix", f"editor.model={folder}").editor
        return kind.identity(dict(node) | options, tmp_path / "memory.json")

    here = identity(model)
    assert "model" not in here
    assert len(here["model_sha256"]) == 64
    moved = shutil.copytree(model, tmp_path / "moved")
    assert identity(moved) == here
    fast = {"device": "cuda", "batch_size": 1, "attention_slicing": True, "offload": "model", "workers": 4}
    assert identity(moved, **fast) == here
    assert identity(moved, guidance_scale=3.0) != here
    config = moved / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    assert identity(moved) != here
    hub = kind.identity({"model": "owner/name", "revision": "v1", "device": "cpu"})
    assert hub == {"model": "owner/name", "revision": "v1"}


@pytest.mark.parametrize(
    ("kind", "model", "said"),
    [
        ("instruct_pix2pix", "timbrooks/nowhere", r"timbrooks/nowhere.*HF_HUB_OFFLINE.*editor\.model=<local folder>"),
        ("img2img", "/no/such/folder", r"/no/such/folder: no such folder.*editor\.model=<local folder>"),
        ("instruct_pix2pix", "tiny:img2img", r"takes 4 channels, InstructPix2Pix 8.*editor=img2img"),
        ("ddim_inversion", "tiny:instruct_pix2pix", r"no plain text-to-image model.*editor=instruct_pix2pix"),
        ("flux2_klein", "tiny:img2img", r"cannot be loaded as BatchedFlux2KleinPipeline.*editor\.model=<local folder>"),
    ],
)
def test_a_model_that_cannot_be_had_or_is_another_is_named(kind, model, said, saved):
    model = saved(model[5:]) if model.startswith("tiny:") else model
    with pytest.raises((MissingModel, DataError), match=said):
        editor(kind, model).edit(PHOTOS, CONCEPT)


def test_a_folder_of_no_pipeline_and_a_truncated_model_are_named(saved, tmp_path):
    with pytest.raises(MissingModel, match=rf"{tmp_path}.*model_index\.json"):
        editor("img2img", tmp_path).edit(PHOTOS, CONCEPT)
    cut = shutil.copytree(saved("img2img"), tmp_path / "cut")
    weights = cut / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(MissingModel, match=rf"{cut} cannot be loaded"):
        editor("img2img", cut).edit(PHOTOS, CONCEPT)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dtype", "float8"),
        ("offload", "disk"),
        ("prompt_template", "no place"),
        ("size", 100),
        ("steps", 0),
        ("batch_size", 0),
        ("retries", -1),
        ("min_change", 2),
    ],
)
def test_options_that_make_no_sense_are_named(option, value):
    from hydra.errors import InstantiationException

    with pytest.raises((DataError, InstantiationException), match=rf"editor\.{option}"):
        editor("img2img", "owner/name", **{option: value})


def test_a_black_flagged_image_and_a_wanted_safety_checker(saved):
    with pytest.raises(DataError, match=r"editor\.safety_checker=true"):
        editor("instruct_pix2pix", saved("instruct_pix2pix"), safety_checker=True).edit(PHOTOS, CONCEPT)

"""What a translator takes and gives back, at any size; its folder; mixtures, strength, examples."""

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.tiny_generator import PROMPTS, SIDE, tiny_generator
from weightgen.errors import DataError, MissingArtifact, MissingModel, WeightgenError
from weightgen.generation.adapt import adapt
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.known import Known, UnknownWords, words
from weightgen.generation.pictures.any_size import OVERLAP, PERIODS, mirrored, translate_any_size
from weightgen.generation.pictures.examples import examples, pairs_in
from weightgen.generation.translator import Translator
from weightgen.translation.lora import lora_state
from weightgen.translation.pictures import translate

SKETCH, OIL, _ = PROMPTS


@pytest.fixture(scope="module")
def generator() -> WeightGenerator:
    return tiny_generator()


@pytest.fixture(scope="module")
def translator(generator) -> Translator:
    return generator(SKETCH)


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_every_kind_comes_back_as_it_was_and_all_agree(translator, tmp_path):
    one = pictures(3, 20, 24)
    wanted = translator(one[None])[0]
    array, photo = one.permute(1, 2, 0).numpy(), Image.fromarray(one.permute(1, 2, 0).numpy())
    photo.save(tmp_path / "photo.png")
    assert torch.equal(translator(one), wanted)
    floats = translator(one.float() / 255)
    assert floats.dtype == torch.float32
    assert torch.equal((floats * 255).round().to(torch.uint8), wanted)
    assert translator(one.double() / 255).dtype == torch.float64
    assert (translator(array) == wanted.permute(1, 2, 0).numpy()).all()
    assert (translator(one.numpy()) == wanted.numpy()).all()  # channels first
    assert (translator(array[None])[0] == wanted.permute(1, 2, 0).numpy()).all()
    halves = translator(array.astype(np.float16) / 255)
    assert halves.dtype == np.float16
    for given in (photo, tmp_path / "photo.png", str(tmp_path / "photo.png")):
        assert (np.asarray(translator(given)) == wanted.permute(1, 2, 0).numpy()).all()
    grey = translator(photo.convert("L"))
    assert (grey.mode, grey.size) == ("RGB", photo.size)


def test_a_list_may_mix_sizes_and_kinds(translator):
    first, second = pictures(3, 20, 24), pictures(2, 3, 16, 16, seed=1)
    photo = Image.fromarray(pictures(20, 24, 3, seed=2).numpy())
    out = translator([first, second, photo])
    assert torch.equal(out[0], translator(first))
    assert torch.equal(out[1], translator(second))
    assert (np.asarray(out[2]) == np.asarray(translator(photo))).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.rand(1, 3, 16, 16) * 2 - 1, r"go from -.* pass \(x \+ 1\) / 2"),
        (torch.rand(1, 3, 16, 16) * 255, r"pass x / 255, or uint8"),
        (torch.full((1, 3, 16, 16), torch.nan), "not finite"),
        (torch.full((1, 3, 16, 16), torch.inf), "not finite"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.int64), "torch.int64: pass uint8"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.bool), "torch.bool: pass uint8"),
        (np.zeros((16, 16, 3), np.int32), "int32: pass uint8"),
        (torch.zeros(0, 3, 16, 16), "empty"),
        (torch.zeros(1, 1, 16, 16), r"wants \(N, 3, H, W\)"),
        (torch.zeros(16, 16), r"wants \(N, 3, H, W\)"),
        (np.zeros((16, 16), np.uint8), "is no picture"),
        ([], "empty list"),
        (7, "cannot take int"),
        ("absent.png", "there is no such photo"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_to_pass(translator, given, message):
    with pytest.raises(DataError, match=message) as error:
        translator(given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (16, 16), (18, 18), (49, 47), (200, 31)])
def test_any_size_in_is_the_same_size_out(translator, size):
    assert translator(pictures(2, 3, *size)).shape == (2, 3, *size)


def test_a_picture_of_the_training_size_goes_through_as_it_is(translator):
    images, text = pictures(3, 3, SIDE, SIDE), translator.text
    assert torch.equal(translator(images), translate(translator.model, images, text.tokens, text.mask))


def test_tiles_of_a_picture_that_is_the_same_everywhere_leave_no_seams():
    """A net that copies its input: what comes out of tiles is the picture itself, whatever its size."""

    class Copy(torch.nn.Module):
        period, multiple = 16, 4

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images, tokens, text_mask):
            assert images.shape[2] % 4 == images.shape[3] % 4 == 0
            assert max(images.shape[2:]) <= PERIODS * 16 + OVERLAP
            return images

    for size in ((1, 1), (50, 47), (300, 33), (100, 200)):
        images = pictures(2, 3, *size)
        out = translate_any_size(Copy(), images, torch.zeros(1, 2, 4), torch.ones(1, 2).bool())
        assert torch.equal(out, images)


def test_mirroring_repeats_no_border_and_goes_on_for_ever():
    row = torch.tensor([[1, 2, 3]])
    assert mirrored(row, 9, 1).tolist() == [[1, 2, 3, 2, 1, 2, 3, 2, 1]]
    assert mirrored(row[:, :1], 4, 1).tolist() == [[1, 1, 1, 1]]
    assert mirrored(row, 3, 1).tolist() == row.tolist()


def test_a_saved_translator_is_the_translator(translator, tmp_path):
    translator.save(tmp_path / "t")
    loaded = Translator.load(tmp_path / "t")
    images = pictures(2, 3, 40, 24)
    assert (translator(images).int() - loaded(images).int()).abs().max() <= 1  # the LoRA is merged
    assert (loaded.prompt, loaded.base, dict(loaded.description)) == (SKETCH, translator.base, translator.description)
    assert (loaded.plain()(images).int() - loaded(images).int()).abs().max() <= 1  # another layout rounds otherwise
    assert loaded.plain().model is not loaded.model  # whose weights stay the caller's to train
    with pytest.raises(MissingArtifact, match=r"holds no translator.json"):
        Translator.load(tmp_path)
    (tmp_path / "t" / "weights.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(WeightgenError, match="holds no translator that this version can make"):
        Translator.load(tmp_path / "t")


def test_strength_scales_the_change_and_0_is_the_base(generator):
    images = pictures(2, 3, SIDE, SIDE)
    base, once = generator(SKETCH, strength=0.0), generator(SKETCH)
    text = base.text
    assert torch.equal(base(images), translate(generator.base, images, text.tokens, text.mask))
    for name, factor in lora_state(generator(SKETCH, strength=1.5).model).items():
        torch.testing.assert_close(factor, 1.5 * lora_state(once.model)[name])


def test_a_mixture_is_the_weighted_sum_of_its_loras_and_of_their_words(generator):
    mixed, parts = generator({SKETCH: 0.7, OIL: 0.3}), (generator(SKETCH), generator(OIL))
    states = [lora_state(part.model) for part in parts]
    for name, factor in lora_state(mixed.model).items():
        torch.testing.assert_close(factor, 0.7 * states[0][name] + 0.3 * states[1][name])
    torch.testing.assert_close(mixed.text.tokens, 0.7 * parts[0].text.tokens + 0.3 * parts[1].text.tokens)
    alone = generator({SKETCH: 1.0})
    assert torch.equal(alone(pictures(1, 3, 16, 16)), parts[0](pictures(1, 3, 16, 16)))
    for shares in ({}, {SKETCH: 0.0}, {SKETCH: 1.0, OIL: -0.5}):
        with pytest.raises((DataError, ValueError)):
            generator(shares)
    with pytest.raises(WeightgenError, match="no weighted sum"):
        tiny_generator("ab")({SKETCH: 1.0})


def test_examples_move_the_weights_and_need_pairs(generator):
    before, after = pictures(3, 40, 40), pictures(3, 40, 40, seed=1)
    refined = generator(SKETCH, like=[(before, after)])
    assert any(not torch.equal(a, b) for a, b in _factors(refined, generator(SKETCH)))
    for wrong in ([], [(before,)], [(before, after[:, :20])], [before]):
        with pytest.raises(DataError):
            generator(SKETCH, like=wrong)
    with pytest.raises(WeightgenError, match="has no refiner, so it cannot look at examples: use `adapt`"):
        replace(generator, refiner=None)(SKETCH, like=[(before, after)])
    with pytest.raises(DataError, match="one prompt"):
        generator({SKETCH: 1.0}, like=[(before, after)])


def _factors(one: Translator, other: Translator):
    return zip(lora_state(one.model).values(), lora_state(other.model).values(), strict=True)


def test_squares_of_examples_lie_on_the_grid_and_come_from_every_picture():
    first, second = pictures(3, 40, 20), pictures(3, 16, 16, seed=1)
    sources, targets = examples([(first, first), (second, second)], 16, 3)
    assert torch.equal(sources, targets)
    cells = {first[:, :16, :16], first[:, 16:32, :16], second}
    assert {tuple(one.flatten().tolist()) for one in sources} == {tuple(one.flatten().tolist()) for one in cells}
    assert torch.equal(sources[1], second)  # a picture each comes first
    small = examples([(first[:, :5, :7], first[:, :5, :7])], 16)[0]
    assert small.shape == (1, 3, 16, 16)


def test_pairs_in_folders(tmp_path):
    for side in ("before", "after"):
        (tmp_path / side).mkdir()
        Image.new("RGB", (20, 16), "red" if side == "before" else "blue").save(tmp_path / side / "one.png")
    ((before, after),) = pairs_in(tmp_path)
    assert (before.getpixel((0, 0)), after.getpixel((0, 0)), after.size) == ((255, 0, 0), (0, 0, 255), (20, 16))
    (tmp_path / "before" / "two.png").write_bytes((tmp_path / "before" / "one.png").read_bytes())
    with pytest.raises(DataError, match=r"two\.png has no partner"):
        pairs_in(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        pairs_in(tmp_path / "absent")


def test_adapting_learns_the_pairs_and_is_a_function_of_its_steps(generator):
    before = pictures(3, 64, 64)
    pairs = [(before, 255 - before)]
    shares = []
    adapted = adapt(generator, SKETCH, pairs, steps=120, progress=shares.append)
    again = adapt(generator, SKETCH, pairs, steps=120)
    assert torch.equal(adapted(before), again(before))
    error = (adapted(before).int() - (255 - before).int()).abs().float().mean()
    assert error < 0.6 * (generator(SKETCH)(before).int() - (255 - before).int()).abs().float().mean()
    assert shares[-1] == 1.0
    assert torch.equal(adapt(generator, SKETCH, pairs, seconds=0)(before), generator(SKETCH, like=pairs)(before))
    with pytest.raises(DataError, match="seconds=-1"):
        adapt(generator, SKETCH, pairs, seconds=-1)


def test_words_that_no_prompt_holds_are_said_with_the_nearest_that_it_knows(generator):
    assert words("A pencil sketch, in SEPIA tones!") == {"pencil", "sketch", "sepia", "tones"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator(SKETCH)
    with pytest.warns(UnknownWords, match=r"never saw 'asdf', 'qwer'.*Nearest.*'a pencil sketch") as seen:
        generator("asdf qwer")
    assert len(seen) == 1
    near = generator.known.nearest(generator.encoder.encode([SKETCH]).pooled)
    assert near[0] == (SKETCH, pytest.approx(1.0, abs=1e-5))
    assert near[0][1] > near[1][1] > near[2][1]
    similar = generator.known.pooled @ generator.known.pooled.T
    similar.fill_diagonal_(-1)
    assert generator.known.reach == pytest.approx(float(similar.max(1).values.min()))
    twice = Known([SKETCH, SKETCH], generator.encoder.encode([SKETCH, SKETCH]).pooled)  # nothing else is within reach
    with pytest.warns(UnknownWords, match="never saw words put so"):
        twice.warn_of("sketch tones", generator.encoder.encode(["sketch tones"]).pooled)


def test_half_precision_is_half_as_large_and_draws_the_same(generator, tmp_path):
    for name, half in (("full", False), ("half", True)):
        generator.save(tmp_path / name, half)
    sizes = {name: sum(f.stat().st_size for f in (tmp_path / name).glob("*.safetensors")) for name in ("full", "half")}
    assert sizes["half"] < 0.6 * sizes["full"]
    images = pictures(2, 3, SIDE, SIDE)
    loaded = WeightGenerator.load(tmp_path / "half")
    assert loaded.refiner is not None
    assert (loaded(SKETCH)(images).int() - generator(SKETCH)(images).int()).abs().max() <= 3


def test_a_generator_goes_to_the_hub_with_its_card_and_comes_from_it_without_code(generator, tmp_path, monkeypatch):
    import huggingface_hub

    there = tmp_path / "hub"

    class Api:
        def __init__(self, token):
            assert token == "secret"

        def create_repo(self, name, private, exist_ok):
            assert (name, private, exist_ok) == ("me/generator", True, True)
            return "https://huggingface.co/me/generator"

        def upload_folder(self, repo_id, folder_path):
            shutil.copytree(folder_path, there)

    def download(name, revision, token, allow_patterns):
        assert (name, revision) == ("me/generator", "main")
        assert not [pattern for pattern in allow_patterns if pattern.endswith((".py", ".bin", ".pt", "*"))]
        return str(there)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with_card = replace(generator, card="# A card\n")
    assert with_card.push_to_hub("me/generator", private=True, token="secret") == "https://huggingface.co/me/generator"
    loaded = WeightGenerator.from_pretrained("me/generator", revision="main")
    assert loaded.card == "# A card\n"
    assert WeightGenerator.from_pretrained(there).base_hash == loaded.base_hash == generator.base_hash
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("offline"))
    )
    with pytest.raises(MissingModel, match="me/other: neither a folder here nor to be had from the hub"):
        WeightGenerator.from_pretrained("me/other")

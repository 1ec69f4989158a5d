"""Edits that vary: a function of seed, concept, part and photo; one dial does not turn another; a second draw is a floor."""

import math
from types import SimpleNamespace

import pytest
import torch

from weightgen.data.editors.procedural.editor import ProceduralEditor
from weightgen.data.editors.procedural.variation import GAIN, GAMMA, LEAST_STRENGTH, PHASE, SCALE, Draw, Variation
from weightgen.errors import DataError

PHOTOS = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def concept(prompt: str = "halftone print in blue and yellow") -> SimpleNamespace:
    return SimpleNamespace(prompt=prompt, factors=())


def edited(variation, photos=PHOTOS, prompt="halftone print in blue and yellow", seed=0):
    made = ProceduralEditor(seed, variation).pairs({"train": photos, "test": photos}, concept(prompt), None)
    return made.targets, made.again


@pytest.mark.parametrize("nothing", [0, 0.0, {}, {"strength": 0, "phase": 0.0}])
def test_without_variation_edits_are_what_they_were_and_nothing_is_drawn_twice(nothing):
    targets, again = edited(nothing)
    plain = (ProceduralEditor().edit(PHOTOS.float() / 255, concept()) * 255).round().byte()
    assert torch.equal(targets["train"], plain)
    assert not again
    assert ProceduralEditor.identity({"name": "procedural", "variation": nothing}, None) == {"name": "procedural"}
    assert not ProceduralEditor.varies({"variation": nothing})


def test_a_number_sets_three_dials_and_phase_is_apart():
    assert Variation.of(1) == Variation(1, 1, 1, 0)
    assert Variation.of({"phase": 0.5}) == Variation(phase=0.5)
    identity = ProceduralEditor.identity({"name": "procedural", "variation": 0.5}, None)
    assert identity == {"name": "procedural", "variation": {"strength": 0.5, "colour": 0.5, "scale": 0.5}}
    assert ProceduralEditor.varies({"variation": {"phase": 0.1}})


@pytest.mark.parametrize("wrong", [1.5, -0.1, math.nan, True, "much", {"hue": 1}, {"scale": 2}])
def test_other_values_are_one_line(wrong):
    with pytest.raises(DataError, match=r"editor\.variation"):
        Variation.of(wrong)


@pytest.mark.parametrize("dial", ["strength", "colour", "scale", "phase"])
def test_every_dial_changes_pixels_and_each_photo_otherwise(dial):
    targets, again = edited({dial: 1})
    plain, _ = edited(0)
    assert not torch.equal(targets["train"], plain["train"])
    same = edited({dial: 1}, PHOTOS[:1].repeat(6, 1, 1, 1))[0]["test"]
    assert len({bytes(image.numpy().tobytes()) for image in same}) > 1  # one photo, several draws
    assert again.keys() == {"test"}
    assert not torch.equal(again["test"], targets["test"])


def test_it_is_a_function_of_seed_prompt_and_part_alone():
    first, second = edited(1), edited(1)
    assert torch.equal(first[0]["test"], second[0]["test"])
    assert torch.equal(first[1]["test"], second[1]["test"])
    assert not torch.equal(first[0]["train"], first[0]["test"])  # the same photos in another part
    assert not torch.equal(edited(1, seed=1)[0]["test"], first[0]["test"])


def test_draws_stay_in_their_spans_and_dials_do_not_turn_one_another():
    def draw(**dials) -> Draw:
        return Variation(**dials).draw(400, torch.Generator().manual_seed(3))

    full = draw(strength=1, colour=1, scale=1, phase=1)
    assert LEAST_STRENGTH <= full.strength.min() < LEAST_STRENGTH + 0.02
    assert 0.98 < full.strength.max() <= 1
    assert (full.gain - 1).abs().max() <= GAIN
    assert (full.gain - 1).abs().max() > 0.95 * GAIN
    assert full.gamma.log().abs().max() <= GAMMA + 1e-6
    assert max(abs(math.log(factor)) for factor in full.scale) <= SCALE
    assert 0 <= min(full.phase) < max(full.phase) <= PHASE
    alone = draw(strength=1)
    assert torch.equal(alone.strength, full.strength)
    assert torch.equal(alone.gain, torch.ones_like(full.gain))
    assert alone.drawn_alike
    assert not full.drawn_alike


def test_tones_by_hand():
    """An edit of .25, power .5, channel gains 1, 1.1 and 3; a quarter of a photo of 1 is left."""
    draw = Draw(torch.tensor([0.75]), torch.tensor([[1.0, 1.1, 3.0]]), torch.tensor([0.5]), [1.0], [0.0], True)
    out = draw.toned(torch.ones(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.25))
    expected = torch.tensor([0.25 + 0.75 * 0.5, 0.25 + 0.75 * 0.55, 1.0])  # the third is cut at 1
    torch.testing.assert_close(out, expected[None, :, None, None].expand(1, 3, 2, 2))


def test_phase_moves_the_grid_and_scale_its_period():
    grey = torch.full((1, 3, 64, 64), 0.5)
    style, photo = SimpleNamespace(prompt="halftone print", factors=(("medium", "halftone"),)), grey

    def drawn(scale: float, phase: float) -> torch.Tensor:
        still = Draw(torch.ones(1), torch.ones(1, 3), torch.ones(1), [scale], [phase], False)
        return ProceduralEditor().edit(photo, style, still)[0, 0]

    plain = ProceduralEditor().edit(photo, style)[0, 0]
    assert torch.equal(drawn(1.0, 0.0), plain)
    torch.testing.assert_close(drawn(1.0, 3.0)[3:, 3:], plain[:-3, :-3])
    coarse = drawn(2.0, 0.0)  # the period of 8 px is 16 now
    torch.testing.assert_close(coarse[16:, :], coarse[:-16, :], atol=1e-5, rtol=0)
    assert (plain[8:, :] - plain[:-8, :]).abs().max() < 1e-5
    assert (coarse[8:, :] - coarse[:-8, :]).abs().max() > 0.1

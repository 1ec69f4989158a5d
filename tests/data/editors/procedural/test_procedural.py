"""The procedural editor: a real composition, in range, batch-independent, every concept unlike any other."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from weightgen.data.concepts.vocabulary import MEDIA, PALETTES
from weightgen.data.editors.procedural.editor import ProceduralEditor
from weightgen.data.editors.procedural.filters import Canvas, blur, cell_mean, edges, levels, shift, step
from weightgen.data.editors.procedural.media import RENDERERS
from weightgen.data.editors.procedural.palettes import NAMED, Palette, duotone, luminance, palette
from weightgen.data.photos.bundled import BundledPhotos
from weightgen.errors import DataError


@dataclass(frozen=True)
class Style:
    """What the editor needs to know of a concept."""

    medium: str | None = None
    palette: str | None = None
    prompt: str = "unused"

    @property
    def factors(self):
        return tuple((k, v) for k in ("medium", "palette") if (v := getattr(self, k)))


@pytest.fixture(scope="module")
def photos():
    return BundledPhotos(64, train=6, validation=1, test=1).load().crops["train"].float() / 255


def test_vocabulary_and_renderers_agree():
    assert set(RENDERERS) == {m.key for m in MEDIA}
    assert set(NAMED) == {p.key for p in PALETTES if not p.key.startswith("duotone:")}


@pytest.mark.parametrize("medium", sorted(RENDERERS))
@pytest.mark.parametrize("size", [(16, 16), (17, 40), (64, 64)])
def test_media_keep_shape_and_range_on_hard_images(medium, size):
    height, width = size
    black, white = torch.zeros(3, height, width), torch.ones(3, height, width)
    checks = (torch.arange(height)[:, None] + torch.arange(width)) % 2 * torch.ones(3, 1, 1)
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    images = torch.stack([black, white, white / 2, checks, noise])
    edited = ProceduralEditor().edit(images, Style(medium))
    assert edited.shape == images.shape
    assert edited.dtype == torch.float32
    assert edited.isfinite().all()
    assert edited.min() >= 0
    assert edited.max() <= 1


@pytest.mark.parametrize("medium", sorted(RENDERERS))
def test_an_image_does_not_depend_on_its_batch(medium, photos):
    style = Style(medium, "candy")
    whole = ProceduralEditor().edit(photos.repeat(4, 1, 1, 1), style)
    alone = torch.cat([ProceduralEditor().edit(photo[None], style) for photo in photos])
    assert torch.equal(whole, alone.repeat(4, 1, 1, 1))


def test_edit_is_medium_then_palette_and_leaves_its_input_alone(photos):
    before = photos.clone()
    editor = ProceduralEditor()
    composed = editor.edit(photos, Style("mosaic", "sunset"))
    steps = editor.edit(editor.edit(photos, Style("mosaic")), Style(palette="sunset"))
    assert torch.equal(composed, steps)
    assert torch.equal(photos, before)


def test_prompt_is_read_when_no_factors_are_given(photos):
    said = ProceduralEditor().edit(photos, Style(prompt="mosaic in navy and orange"))
    assert torch.equal(said, ProceduralEditor().edit(photos, Style("mosaic", "duotone:navy:orange")))


def test_all_media_differ_and_all_palettes_differ(photos):
    editor = ProceduralEditor()

    def nearest(styles):
        pictures = {s: torch.stack([editor.edit(photos, s_) for s_ in group]) for s, group in styles.items()}
        return min((pictures[a] - pictures[b]).abs().mean() for a, b in itertools.combinations(pictures, 2))

    assert nearest({m: [Style(m, p) for p in ("sepia", "sunset")] for m in RENDERERS}) > 0.04
    keys = [p.key for p in PALETTES]
    assert nearest({p: [Style(m, p) for m in ("pencil", "mosaic", "outlines")] for p in keys}) > 0.05


def test_media_look_alike_at_twice_the_size(photos):
    """A medium is the same drawing at 128 px, not one with half the dots."""
    large = torch.nn.functional.interpolate(photos, scale_factor=2, mode="bilinear").clamp(0, 1)
    editor = ProceduralEditor()
    small = {m: editor.edit(photos, Style(m)) for m in RENDERERS}
    for medium in RENDERERS:
        halved = torch.nn.functional.avg_pool2d(editor.edit(large, Style(medium)), 2)
        assert medium == min(small, key=lambda m, h=halved: (h - small[m]).abs().mean())


def test_seed_moves_the_grid(photos):
    base = ProceduralEditor(seed=0).edit(photos, Style("halftone"))
    assert not torch.equal(base, ProceduralEditor(seed=3).edit(photos, Style("halftone")))
    period = ProceduralEditor(seed=8).edit(photos, Style("halftone"))
    torch.testing.assert_close(base, period, atol=1e-4, rtol=0)
    flat = torch.full((1, 3, 64, 64), 0.5)
    moved = ProceduralEditor(seed=3).edit(flat, Style("mosaic"))
    assert torch.equal(moved[..., 3:, 3:], ProceduralEditor(seed=0).edit(flat, Style("mosaic"))[..., :-3, :-3])


@pytest.mark.parametrize(
    ("images", "style"),
    [
        (torch.zeros(1, 3, 15, 64), Style("oil")),
        (torch.zeros(1, 1, 64, 64), Style("oil")),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), Style("oil")),
        (torch.zeros(1, 3, 64, 64), Style("gouache")),
        (torch.zeros(1, 3, 64, 64), Style("oil", "beige")),
        (torch.zeros(1, 3, 64, 64), Style("oil", "duotone:red:nocolour")),
        (torch.zeros(1, 3, 64, 64), Style(prompt="a zombie")),
    ],
)
def test_what_cannot_be_edited_is_refused(images, style):
    with pytest.raises(DataError):
        ProceduralEditor().edit(images, style)


def test_empty_batch_stays_empty():
    assert ProceduralEditor().edit(torch.zeros(0, 3, 16, 16), Style("oil", "sepia")).shape == (0, 3, 16, 16)


def test_ramp_by_hand():
    ramp = Palette(((0.0, 0.0, 0.2), (1.0, 0.0, 0.2), (1.0, 1.0, 1.0)))
    grey = torch.tensor([0.0, 0.25, 0.5, 1.0]).expand(1, 3, 1, 4)
    expected = torch.tensor([[0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.2, 0.2, 0.2, 1.0]])
    torch.testing.assert_close(ramp(grey)[0, :, 0], expected)


def test_negative_is_one_minus_x(photos):
    torch.testing.assert_close(palette("negative")(photos), 1 - photos)


def test_monochrome_is_luminance(photos):
    torch.testing.assert_close(palette("monochrome")(photos), luminance(photos).expand_as(photos))


def test_duotone_ends_are_the_two_colours_when_far_apart_and_pushed_apart_when_not():
    ends = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    torch.testing.assert_close(palette("duotone:navy:orange")(ends)[0, :, 0, 0], torch.tensor([0, 0, 128 / 255]))
    torch.testing.assert_close(palette("duotone:navy:orange")(ends)[0, :, 0, 1], torch.tensor([1, 165 / 255, 0]))
    for dark, light in (
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ((0.8, 0.0, 0.0), (0.0, 0.5, 0.5)),
        ((0.0,) * 3, (0.0,) * 3),
    ):
        low, high = luminance(duotone(dark, light)(ends))[0, 0, 0]
        assert high - low == pytest.approx(0.45, abs=1e-6)


def test_filters_by_hand():
    row = torch.tensor([0.0, 0, 1, 0, 0]).view(1, 1, 1, 5).expand(1, 1, 5, 5)
    assert shift(row, 0, 2)[0, 0, 0].tolist() == [0, 0, 0, 0, 1]
    assert shift(row, 0, -3)[0, 0, 0].tolist() == [0, 0, 0, 0, 0]
    torch.testing.assert_close(blur(torch.full((1, 3, 9, 7), 0.3), 2.0), torch.full((1, 3, 9, 7), 0.3))
    assert step(torch.tensor([0.0, 0.5, 0.6, 1.0]), 0.5, 0.4).tolist() == pytest.approx([0, 0.5, 0.75, 1])
    assert levels(torch.tensor([0.0, 0.2, 0.45, 0.8, 1.0]), 3).tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)
    assert edges(torch.full((1, 1, 8, 8), 0.4), 0.25).max() < 1e-3


def test_cell_mean_by_hand():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    grid = cell_mean(image, 2, Canvas.of(image))
    assert grid[0, 0].tolist() == [[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2
    moved = cell_mean(image, 3, Canvas.of(image, offset=1))  # cells begin at 1; before it the border repeats
    assert moved[0, 0].tolist() == [[0, 2, 2, 2]] + [[8, 10, 10, 10]] * 3

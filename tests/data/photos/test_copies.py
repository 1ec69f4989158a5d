"""Near copies: one group whatever the encoding, and never on two sides."""

import io

import numpy as np
import pytest
from PIL import Image

from weightgen.data.photos.copies import copies, count, thumbnail, told
from weightgen.data.photos.folder import FolderPhotos


def picture(seed: int) -> Image.Image:
    """A smooth random picture, as photos are at the size of a thumbnail."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES = {
    "itself": lambda image: image,
    "JPEG of quality 30": lambda image: jpeg(image, 30),
    "nine tenths": lambda image: image.resize((144, 108), Image.Resampling.BICUBIC),
    "half": lambda image: image.resize((80, 60), Image.Resampling.LANCZOS),
    "half, as a JPEG": lambda image: jpeg(image.resize((80, 60)), 60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_and_its_other_encoding_are_copies(change):
    for seed in range(20):
        sides = {"b": thumbnail(picture(seed)), "a": thumbnail(CHANGES[change](picture(seed)))}
        assert copies(sides) == {"a": "a", "b": "a"}


def test_different_pictures_are_none():
    seen = {f"{seed:03d}": thumbnail(picture(seed)) for seed in range(200)}
    assert copies(seen) == {name: name for name in seen}
    assert told(copies(seen)) == "200 photos, 0 groups of copies"


@pytest.mark.parametrize("change", [lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT), lambda i: i.convert("L")])
def test_a_mirrored_or_a_grey_picture_is_another(change):
    assert count(copies({"a": thumbnail(picture(1)), "b": thumbnail(change(picture(1)))})) == 0


def test_copies_of_copies_are_one_group(monkeypatch):
    """b is near a and c, which are not near one another; whatever the number of pictures compared at once."""
    a, b, c = (bytes([level] * 192) for level in (100, 101, 102))
    for rows in (1, 2, 1024):
        monkeypatch.setattr("weightgen.data.photos.copies.ROWS", rows)
        assert copies({"a": a, "c": c}) == {"a": "a", "c": "c"}
        assert copies({"c": c, "b": b, "a": a}) == dict.fromkeys("abc", "a")
    assert copies({}) == {}


def test_three_encodings_of_twelve_photos_are_twelve_groups_in_one_part_each(tmp_path, caplog):
    for seed in range(12):
        image = picture(seed)
        image.save(tmp_path / f"{seed}.png")
        image.save(tmp_path / f"{seed} again.jpg", quality=75)
        image.resize((144, 108)).save(tmp_path / f"{seed} smaller.png")
    with caplog.at_level("INFO"):
        photos = FolderPhotos(tmp_path, 16, 200, 200, 200).load()
    assert "36 photos, 12 groups of copies" in caplog.text
    assert photos.report == {"photos": 36, "groups_of_copies": 12, "left_out": 0}
    parts = [{name.partition(".")[0].partition(" ")[0] for name in names} for names in photos.names.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12

"""Photos: disjoint ground for train, validation and test, every mode Pillow knows, errors that name the file."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

from weightgen.data.photos.bundled import BundledPhotos
from weightgen.data.photos.decoding import EXTENSIONS, FORMATS, decode_photo
from weightgen.data.photos.folder import FolderPhotos
from weightgen.errors import DataError


def flat(path, colour, size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Ten photos of one colour each: a crop tells its photo."""
    for i in range(10):
        flat(tmp_path / "photos" / f"sub{i % 2}" / f"{i}.png", (i * 20, 100, 7))
    return tmp_path / "photos"


def colours(crops):
    return {tuple(crop[:, 0, 0].tolist()) for crop in crops}


def test_bundled_shapes_names_and_attribution():
    photos = BundledPhotos(16, train=7, validation=4, test=3).load()
    assert photos.crops["train"].shape == (7, 3, 16, 16)
    assert photos.crops["test"].shape == (3, 3, 16, 16)
    assert photos.crops["train"].dtype == photos.crops["test"].dtype == torch.uint8
    assert photos.crops["validation"].shape == (4, 3, 16, 16)
    assert photos.names["train"][:3] == photos.names["test"] == ["astronaut.png", "coffee.png", "chelsea.png"]
    assert photos.names["train"][6] == "astronaut.png"
    for credit in ("NASA", "danielbuechele", "vultilion", "CC BY 2.0"):
        assert credit in photos.attribution


def test_bundled_ground_is_disjoint(monkeypatch):
    """On photos whose pixels say which part they are of, no crop sees another's."""
    halves = np.zeros((60, 120, 3), np.uint8)
    halves[:, 60:80] = 100
    halves[:, 80:] = 255
    buffer = io.BytesIO()
    Image.fromarray(halves).save(buffer, "png")
    monkeypatch.setattr(BundledPhotos, "_read", lambda self: [("halves.png", buffer.getvalue())])
    photos = BundledPhotos(16, train=40, validation=40, test=40, min_scale=0.5).load()
    seen = {part: crops.unique().tolist() for part, crops in photos.crops.items()}
    assert seen == {"train": [0], "validation": [100], "test": [255]}


def test_bundled_is_deterministic_nested_and_seeded():
    few, many = BundledPhotos(16, 4, 2, 2).load(), BundledPhotos(16, 9, 2, 2).load()
    assert torch.equal(few.crops["train"], many.crops["train"][:4])
    assert torch.equal(few.crops["test"], many.crops["test"])
    assert not torch.equal(few.crops["train"], BundledPhotos(16, 4, 2, 2, seed=1).load().crops["train"])
    assert BundledPhotos(16, 4, 2, 2).fingerprint() == BundledPhotos(32, 9, 2, 1, seed=5).fingerprint()


def test_min_scale_one_takes_the_whole_short_side(tmp_path):
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[:, None] * 4, 64, 1)
    pictures = (ramp, ramp.T, 255 - ramp)  # three distinct photos
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    photos = FolderPhotos(tmp_path, 64, train=1, validation=1, test=1, min_scale=1.0).load()
    seen = {crops[0, 0].numpy().tobytes() for crops in photos.crops.values()}
    assert seen == {picture.tobytes() for picture in pictures}


def test_no_photo_is_in_two_parts(folder):
    photos = FolderPhotos(folder, 16, train=25, validation=5, test=12).load()
    assert photos.crops["train"].shape == (25, 3, 16, 16)
    assert photos.crops["test"].shape == (12, 3, 16, 16)
    seen = [colours(crops) for crops in photos.crops.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 10  # more crops than photos: all are used
    for part, crops in photos.crops.items():
        for crop, name in zip(crops, photos.names[part], strict=True):
            assert crop[0, 0, 0] == 20 * int(name.split("/")[1][0])


def test_folder_split_follows_content_not_names(folder, tmp_path):
    before = FolderPhotos(folder, 16, 8, 2, 4)
    renamed = tmp_path / "renamed"
    for i, path in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        shutil.copy(path, flat(renamed / f"x{i}.png", 0))
    shutil.copy(renamed / "x0.png", renamed / "copy.png")
    after = FolderPhotos(renamed, 16, 8, 2, 4)
    assert torch.equal(before.load().crops["train"], after.load().crops["train"])
    assert torch.equal(before.load().crops["test"], after.load().crops["test"])
    assert before.fingerprint() == after.fingerprint()


def test_folder_split_of_old_photos_survives_new_ones(folder):
    old = colours(FolderPhotos(folder, 16, 30, 2, 30).load().crops["test"])
    for i in range(5):
        flat(folder / f"new{i}.png", (9, 9, 30 * i))
    assert old == {c for c in colours(FolderPhotos(folder, 16, 30, 2, 30).load().crops["test"]) if c[1] == 100}


def test_fingerprint_changes_with_content(folder):
    before = FolderPhotos(folder, 16, 8, 2, 4).fingerprint()
    flat(folder / "sub0" / "0.png", (255, 0, 0))
    assert FolderPhotos(folder, 16, 8, 2, 4).fingerprint() != before


@pytest.mark.parametrize("fraction", [0.001, 0.899])
def test_three_photos_always_give_one_each(tmp_path, fraction):
    for level in (0, 100, 200):
        flat(tmp_path / f"{level}.png", (level, level, level))
    photos = FolderPhotos(tmp_path, 16, 3, 2, 3, test_fraction=fraction).load()
    seen = [colours(crops) for crops in photos.crops.values()]
    assert [len(of) for of in seen] == [1, 1, 1]
    assert len(set.union(*seen)) == 3


def test_folder_follows_links_once_and_leaves_loops_and_hidden_files(folder, tmp_path):
    flat(tmp_path / "elsewhere" / "linked.png", (255, 255, 255))
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "sub0" / "loop").symlink_to(folder)
    (folder / "._0.jpg").write_bytes(b"resource fork")
    (folder / "notes.txt").write_text("no photo")
    names = set().union(*FolderPhotos(folder, 16, 50, 50, 50).load().names.values())
    assert len(names) == 11
    assert "link/linked.png" in names


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode, tmp_path):
    suffix = "tif" if mode in ("CMYK", "YCbCr", "I", "F") else "png"
    if mode in ("I;16", "I"):
        photo = Image.fromarray(np.full((20, 20), 51 * 257, np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        photo = Image.fromarray(np.full((20, 20), 0.2, np.float32))
    else:
        photo = Image.new("RGB", (20, 20), (51, 51, 51)).convert(mode, dither=Image.Dither.NONE)
    assert photo.mode == mode
    packed = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}  # Pillow 12.3 cannot read its own without
    photo.save(tmp_path / f"x.{suffix}", **packed)
    decoded = decode_photo(tmp_path / f"x.{suffix}")
    assert decoded.mode == "RGB"
    expected = 0 if mode == "1" else 51
    assert all(abs(channel - expected) <= 1 for channel in decoded.getpixel((3, 3)))


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert decode_photo(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([0, 0, 255])
    palette.save(tmp_path / "clear.gif", transparency=0)
    assert decode_photo(tmp_path / "clear.gif").getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to the right
    flat(tmp_path / "turned.jpg", (9, 9, 9), size=(40, 30), exif=exif)
    assert decode_photo(tmp_path / "turned.jpg").size == (30, 40)


def truncated(path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-900])


def corrupt(path):
    path.write_bytes(b"these are not the pixels you are looking for")


def empty(path):
    path.write_bytes(b"")


def tiny(path):
    flat(path, (1, 2, 3), size=(400, 7))


@pytest.mark.parametrize(
    ("spoil", "reason"), [(truncated, "truncated"), (corrupt, "decoded"), (empty, "decoded"), (tiny, "400 x 7 px")]
)
def test_bad_photo_is_named_with_a_remedy_or_skipped(folder, spoil, reason, caplog):
    spoil(folder / "bad.jpg")
    with pytest.raises(DataError, match=rf"bad\.jpg.*{reason}.*photos\.skip_bad=true"):
        FolderPhotos(folder, 16, 20, 2, 20).load()
    lenient = FolderPhotos(folder, 16, 20, 20, 20, skip_bad=True)
    with caplog.at_level("WARNING"):
        photos = lenient.load()
    assert re.search(rf"1 photos are left out \(.*bad\.jpg: .*{reason}", caplog.text)
    assert photos.report["left_out"] == 1
    lenient.load()
    assert len(set().union(*photos.names.values())) == 10
    ((path, why),) = lenient.skipped.items()
    assert path == str(folder / "bad.jpg")
    assert reason in why


def test_broken_link_is_named(folder):
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read"):
        FolderPhotos(folder, 16, 2, 2, 2).fingerprint()


def test_missing_empty_and_single_photo_folders(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        FolderPhotos(tmp_path / "nowhere", 16, 1, 2, 1).load()
    with pytest.raises(DataError, match="no images"):
        FolderPhotos(tmp_path, 16, 1, 2, 1).load()
    flat(tmp_path / "a.png", 0)
    flat(tmp_path / "copy.png", 0)
    with pytest.raises(DataError, match="1 usable distinct"):
        FolderPhotos(tmp_path, 16, 1, 2, 1).load()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 8}, "size"),
        ({"train": 0}, "train=0"),
        ({"min_scale": 0}, "min_scale"),
        ({"test_fraction": 1.0}, "test_fraction"),
        ({"test_fraction": 0.5, "validation_fraction": 0.5}, "together below 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, named):
    with pytest.raises(DataError, match=named):
        FolderPhotos(tmp_path, **{"size": 16, "train": 1, "validation": 1, "test": 1, **arguments})


def test_the_formats_are_those_of_pillow_that_are_pictures_by_themselves():
    pillow_heif.register_heif_opener()
    table = Image.registered_extensions()
    outside = {"EPS", "WMF", "MPEG", "HDF5", "BUFR", "GRIB", "PDF", "FLI"}  # programs, video, scientific containers
    read = {end for end, kind in table.items() if kind in Image.OPEN and kind not in outside}
    assert set(EXTENSIONS) == read
    assert all(table[end] == kind for kind, ends in FORMATS.items() for end in ends.split())


def test_a_photo_never_starts_a_program(tmp_path, monkeypatch):
    """An EPS by another name would be handed to Ghostscript, with options that the file chooses."""
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "gs"
    stand_in.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # as in a new process: not looked for yet
    photo = tmp_path / "evil.jpg"
    photo.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_photo(photo)
    assert not (tmp_path / "started").exists()
    with Image.open(photo) as seen:  # what Pillow does with it by itself
        assert seen.format == "EPS"


def test_a_pipe_is_named_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: is no regular file.*photos\.skip_bad=true"):
        FolderPhotos(folder, 16, 2, 2, 2).load()
    lenient = FolderPhotos(folder, 16, 2, 2, 2, skip_bad=True)
    lenient.load()
    assert [Path(name).name for name in lenient.skipped] == ["pipe.png"]


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    walk = os.walk

    def closed(root, onerror=None, **options):
        onerror(PermissionError(13, "Permission denied", str(folder / "sub1")))
        return walk(root, **options)

    monkeypatch.setattr("os.walk", closed)
    with pytest.raises(DataError, match="sub1 cannot be read"):
        FolderPhotos(folder, 16, 2, 2, 2).load()


@pytest.mark.parametrize(("top", "told"), [(4095, True), (60_000, False), (200, False)])
def test_twelve_bits_in_sixteen_are_not_dark_without_a_word(tmp_path, caplog, top, told):
    Image.fromarray(np.linspace(0, top, 400).reshape(20, 20).astype(np.uint16)).save(tmp_path / "x.png")
    with caplog.at_level("WARNING"):
        decode_photo(tmp_path / "x.png")
    assert ("x.png holds 16-bit values up to 4095 only" in caplog.text) == told

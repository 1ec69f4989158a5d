"""Squares out of photos, on pictures whose answer is known."""

import numpy as np
import pytest
import torch
from PIL import Image

from weightgen.data.photos import crops, pool
from weightgen.data.photos.crops import central_crop, face_agnostic_crop, random_crop
from weightgen.data.photos.folder import FolderPhotos
from weightgen.errors import DataError


def rng():
    return np.random.default_rng(0)


def test_central_is_the_middle_square():
    stripes = np.zeros((40, 100, 3), np.uint8)
    stripes[:, 28:72] = 200
    crop = central_crop(Image.fromarray(stripes), 20, 0.5, rng())
    assert crop.shape == (3, 20, 20)
    assert ((crop.int() - 200).abs() <= 3).all()  # bicubic rings at the border
    crop = central_crop(Image.fromarray(stripes.transpose(1, 0, 2)), 20, 0.5, rng())
    assert ((crop.int() - 200).abs() <= 3).all()


def test_face_agnostic_finds_the_detail_wherever_it_is():
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    for corner in ((0, 0), (0, 120), (120, 0), (120, 120)):
        picture = np.full((160, 160, 3), 128, np.uint8)
        picture[corner[0] : corner[0] + 40, corner[1] : corner[1] + 40] = noise
        photo = Image.fromarray(picture)
        for seed in range(4):
            draw = np.random.default_rng(seed)
            candidates = [random_crop(photo, 16, 0.3, draw) for _ in range(8)]
            detail = [c.float().diff(dim=1).abs().mean() + c.float().diff(dim=2).abs().mean() for c in candidates]
            best = candidates[int(torch.stack(detail).argmax())]
            assert torch.equal(face_agnostic_crop(photo, 16, 0.3, np.random.default_rng(seed)), best)


def test_an_unknown_crop_is_named_and_each_known_one_exists(tmp_path):
    with pytest.raises(DataError, match=r"photos\.crop=middle.*central"):
        FolderPhotos(tmp_path, 16, 1, 1, 1, crop="middle")
    assert set(pool.CROPS) == set(crops.CROPS)


@pytest.fixture
def folder(tmp_path):
    for i in range(10):
        Image.new("RGB", (40, 30), (i * 20, 100, 7)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("crop", ["central", "face_agnostic"])
def test_the_split_is_of_photos_whatever_the_crop(folder, crop):
    def colours(crops):
        return {tuple(c[:, 0, 0].tolist()) for c in crops}

    test = colours(FolderPhotos(folder, 16, 40, 40, 40).load().crops["test"])
    other = FolderPhotos(folder, 16, train=5, validation=1, test=len(test), crop=crop).load()
    assert colours(other.crops["test"]) <= test
    assert not colours(other.crops["train"]) & test


def test_central_crops_are_never_given_twice(folder):
    with pytest.raises(DataError, match=r"photos\.crop=central.*photos\.train=10"):
        FolderPhotos(folder, 16, train=10, validation=1, test=1, crop="central").load()

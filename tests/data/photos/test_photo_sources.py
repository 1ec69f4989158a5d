"""HEIC files, Hugging Face data sets and torchvision's: the same split by content, errors with remedies."""

import io
import time
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from weightgen.data.photos.decoding import decode_photo
from weightgen.data.photos.folder import FolderPhotos
from weightgen.data.photos.hub import HubPhotos
from weightgen.data.photos.torchvision_sets import SETS, TorchvisionPhotos
from weightgen.errors import DataError, MissingModel


def png(value):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (value, 100, 7)).save(buffer, "png")
    return buffer.getvalue()


def test_phones_and_browsers_formats_are_read(tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    for turn, name in enumerate(("a.heic", "b.heif", "c.webp", "d.jpg", "e.png", "f.avif")):
        channels = [np.tile(ramp if turn >> place & 1 else ramp[::-1], (48, 1)) for place in range(3)]
        picture = Image.fromarray(np.stack(channels, -1))
        written = pillow_heif.from_pillow(picture) if name.endswith(("heic", "heif")) else picture
        written.save(tmp_path / name)
        assert np.abs(np.asarray(decode_photo(tmp_path / name), int) - np.asarray(picture, int)).mean() < 4
    assert sum(len(set(names)) for names in FolderPhotos(tmp_path, 16, 40, 40, 40).load().names.values()) == 6
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:-200])
    (tmp_path / "no.heic").write_bytes(b"not a picture")
    for name in ("cut.heic", "no.heic"):
        with pytest.raises(DataError, match="decoded"):
            decode_photo(tmp_path / name)


@pytest.fixture
def parquet(tmp_path):
    """Ten images, one of them twice, as the hub stores them."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageColumn

    rows = [{"bytes": png(20 * (i % 10)), "path": None} for i in range(11)]
    columns = {"image": rows, "caption": ["x"] * 11}
    data = Dataset.from_dict(columns, Features({"image": ImageColumn(), "caption": Value("string")}))
    folder = tmp_path / "set"
    folder.mkdir()
    data.to_parquet(folder / "part.parquet")
    data.save_to_disk(tmp_path / "saved")
    return folder


def values(crops):
    return {int(crop[0, 0, 0]) for crop in crops}


def test_a_hub_set_and_a_folder_of_its_files_are_one(parquet, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for i in range(10):
        (files / f"{i}.png").write_bytes(png(20 * i))
    expected = FolderPhotos(files, 16, 20, 2, 20).load()
    for root in (parquet, parquet / "part.parquet", tmp_path / "saved"):
        photos = HubPhotos(16, 20, 2, 20, root=root).load()
        assert values(photos.crops["train"]) == values(expected.crops["train"])
        assert (photos.crops["train"] == expected.crops["train"]).all()
        assert (photos.crops["test"] == expected.crops["test"]).all()
    assert len(HubPhotos(16, 2, 2, 2, root=parquet, limit=4).photos) == 4


def test_a_local_set_counts_by_content(parquet, tmp_path):
    before = HubPhotos(16, 2, 2, 2, root=parquet).fingerprint()
    moved = parquet.rename(tmp_path / "moved")
    assert HubPhotos(16, 2, 2, 2, root=moved).fingerprint() == before
    (moved / "part.parquet").write_bytes(b"other")
    assert HubPhotos(16, 2, 2, 2, root=moved).fingerprint() != before
    with pytest.raises(DataError, match="cannot be read"):
        HubPhotos(16, 2, 2, 2, root=moved).load()


def test_what_is_wrong_with_a_hub_set_is_named(parquet, tmp_path):
    with pytest.raises(DataError, match=r"no column 'img' but image, caption.*photos\.column"):
        HubPhotos(16, 2, 2, 2, root=parquet, column="img").load()
    with pytest.raises(DataError, match=r"row 0 of .*holds no image"):
        HubPhotos(16, 2, 2, 2, root=parquet, column="caption").load()
    with pytest.raises(DataError, match="does not exist"):
        HubPhotos(16, 2, 2, 2, root=tmp_path / "none").fingerprint()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.parquet file; use photos=folder"):
        HubPhotos(16, 2, 2, 2, root=tmp_path / "empty").load()
    for given in ({}, {"repo": "a/b", "root": parquet}):
        with pytest.raises(DataError, match=r"photos\.repo.*or photos\.root"):
            HubPhotos(16, 2, 2, 2, **given)


@pytest.mark.parametrize("streaming", [True, False])
def test_offline_a_hub_set_is_named_with_the_local_option(streaming):
    start = time.monotonic()
    photos = HubPhotos(16, 2, 2, 2, repo="someone/faces", streaming=streaming)
    assert photos.fingerprint() != HubPhotos(16, 2, 2, 2, repo="someone/faces", revision="v2").fingerprint()
    with pytest.raises(MissingModel, match=r"someone/faces.*photos\.root=<local Parquet"):
        photos.load()
    assert time.monotonic() - start < 20


@pytest.fixture
def sun(tmp_path):
    """A small SUN397 in the layout that torchvision reads."""
    place = tmp_path / "SUN397" / "a" / "alley"
    place.mkdir(parents=True)
    (tmp_path / "SUN397" / "ClassName.txt").write_text("/a/alley\n")
    for i in range(10):
        Image.new("RGB", (40, 30), (25 * i, 0, 0)).save(place / f"sun_{i}.jpg")
    return tmp_path


def test_a_torchvision_set_is_drawn_and_split_by_pixels(sun):
    photos = TorchvisionPhotos("SUN397", sun, 16, 20, 20, 20)
    loaded = photos.load()
    seen = [values(crops) for crops in loaded.crops.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 10
    assert loaded.names["train"][0].startswith("SUN397[")
    few = TorchvisionPhotos("SUN397", sun, 16, 20, 20, 20, limit=5)
    assert len(few.photos) == 5
    assert set(few.photos) <= set(photos.photos)
    before = photos.fingerprint()
    assert TorchvisionPhotos("SUN397", sun, 16, 20, 2, 20).fingerprint() == before
    Image.new("RGB", (40, 30), (1, 2, 3)).save(Path(sun) / "SUN397" / "a" / "alley" / "sun_x.jpg")
    assert TorchvisionPhotos("SUN397", sun, 16, 20, 2, 20).fingerprint() != before


@pytest.mark.parametrize("dataset", sorted(SETS))
def test_a_set_that_is_not_there_names_download_and_root(tmp_path, dataset):
    with pytest.raises(MissingModel, match=rf"{dataset}.*photos\.download=true.*photos\.root="):
        TorchvisionPhotos(dataset, tmp_path / "none", 16, 2, 2, 2).load()
    with pytest.raises(MissingModel, match=rf"{dataset} cannot be downloaded.*by hand"):
        TorchvisionPhotos(dataset, tmp_path / "none", 16, 2, 2, 2, download=True).load()


def test_bad_torchvision_options_are_named(tmp_path):
    with pytest.raises(DataError, match=r"photos\.dataset=MNIST.*CelebA"):
        TorchvisionPhotos("MNIST", tmp_path, 16, 2, 2, 2)
    with pytest.raises(DataError, match=r"photos\.limit=1"):
        TorchvisionPhotos("SUN397", tmp_path, 16, 2, 2, 2, limit=1)

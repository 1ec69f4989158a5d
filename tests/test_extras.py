"""A package of the few that is missing is one line that names the extra."""

import sys

import pytest
from PIL import Image

from tests.helpers.llm_server import serving
from weightgen.data.concepts.llm import LlmConcepts
from weightgen.data.editors.premade.dataset import PairDataset
from weightgen.data.photos.decoding import decode_photo
from weightgen.data.photos.hub import HubPhotos
from weightgen.errors import MissingPackage
from weightgen.extras import optional


def missing(monkeypatch, package):
    """As if it were not installed: importing it raises ModuleNotFoundError."""
    monkeypatch.setitem(sys.modules, package, None)


def said(extra, package):
    return rf"needs the package {package}, which is not installed.*pip install 'weightgen\[{extra}\]', or make setup"


def test_a_package_that_is_there_is_its_module():
    assert optional("json", "none", "this test").loads("[1]") == [1]


def test_concepts_of_a_chat_model_need_openai(monkeypatch, tmp_path):
    missing(monkeypatch, "openai")
    with serving(lambda n, q: 500) as server:
        source = LlmConcepts("m", ["one"], base_url=server.base_url)
        with pytest.raises(MissingPackage, match="concepts=llm " + said("llm", "openai")):
            source.collect(tmp_path)
        assert server.requests == []


def test_hub_photos_and_premade_data_sets_need_datasets(monkeypatch, tmp_path):
    missing(monkeypatch, "datasets")
    (tmp_path / "a.parquet").write_bytes(b"rows")
    with pytest.raises(MissingPackage, match=said("hub", "datasets")):
        HubPhotos(16, 1, 1, 1, root=tmp_path).load()
    with pytest.raises(MissingPackage, match=said("hub", "datasets")):
        HubPhotos(16, 1, 1, 1, repo="someone/faces").load()
    columns = {"image": "a", "edited": "b", "prompt": "c"}
    with pytest.raises(MissingPackage, match=said("hub", "datasets")):
        PairDataset(str(tmp_path / "a.parquet"), columns).folder(tmp_path / "cache")


def test_a_heic_photo_needs_pillow_heif_and_no_other_photo_does(monkeypatch, tmp_path):
    missing(monkeypatch, "pillow_heif")
    Image.init()  # now, for a list that is replaced learns of no format later
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])  # of a test before
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    Image.new("RGB", (20, 20), (1, 2, 3)).save(tmp_path / "a.png")
    assert decode_photo(tmp_path / "a.png").getpixel((0, 0)) == (1, 2, 3)
    with pytest.raises(MissingPackage, match="a HEIC photo " + said("heif", "pillow-heif")):
        decode_photo(tmp_path / "a.heic")

"""The page of `weightgen app`: what it draws, and, in a real Chromium, typing, dropping, drawing and downloading."""

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.helpers.apps import ROOT
from tests.helpers.tiny_generator import PROMPTS, tiny_generator
from weightgen.commands.app import BASE, NEAREST, REFINED, START, TUNED, Page, build
from weightgen.errors import DataError

SKETCH = PROMPTS[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos of different sizes."""
    place = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(((40, 30), (32, 32))):
        values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(values).save(place / f"{number}.png")
    return [str(place / f"{number}.png") for number in range(2)]


def test_every_way_is_a_column_and_its_files_are_what_was_drawn(photos, tmp_path):
    generator = tiny_generator()
    page = Page(generator)
    steps = list(page.draw(SKETCH, photos, 1.0, None, None, 0))
    assert [len(cells) for cells in steps] == [4, 6, 8]
    assert [name for _, name in steps[-1][:4]] == ["photo", BASE, f"{NEAREST}: {SKETCH}", START]
    assert (np.asarray(steps[-1][3][0]) == np.asarray(generator(SKETCH)(photos[0]))).all()
    packed = page.files(START, "png", photos)
    with zipfile.ZipFile(packed) as content:
        assert content.namelist() == ["1.png", "2.png"]
        second = Image.open(io.BytesIO(content.read("2.png")))
    assert (np.asarray(second) == np.asarray(steps[-1][7][0])).all()
    with zipfile.ZipFile(page.files(START, "peft", photos)) as content:
        assert "adapter_model.safetensors" in content.namelist()
    *_, last = page.draw(SKETCH, photos[:1], 1.0, photos, photos, 0.2)
    assert [name for _, name in last][-2:] == [REFINED, f"{TUNED} for 0.2 s"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((SKETCH, [], 1.0, None, None, 0), "drop a photo first"),
        ((" ", None, 1.0, None, None, 0), "drop a photo first"),
        ((SKETCH, ["a.png"], 1.0, None, None, 0), "no such photo"),
    ],
)
def test_what_cannot_be_drawn_is_said(given, message):
    with pytest.raises(DataError, match=message):
        list(Page(tiny_generator()).draw(*given))


def test_a_pair_without_its_partner_and_a_file_of_nothing_are_said(photos):
    page = Page(tiny_generator())
    with pytest.raises(DataError, match="'1' has no partner"):
        list(page.draw(SKETCH, photos, 1.0, photos, photos[:1], 0))
    with pytest.raises(DataError, match="draw something first"):
        page.files(START, "png", photos)


def test_a_folder_without_comparisons_is_refused(tmp_path):
    pytest.importorskip("gradio")
    with pytest.raises(DataError, match="holds no finished comparison"):
        build(tiny_generator(), tmp_path)


def test_type_drop_wait_for_the_picture_and_download(browser, photos, tmp_path):
    pytest.importorskip("gradio")
    tiny_generator().save(tmp_path / "generator")
    report = tmp_path / "reports" / "mine"
    report.mkdir(parents=True)
    (report / "report.md").write_text("# weightgen: mine\n\n<script>document.title='bad'</script>\n\n![x](grid.png)\n")
    Image.new("RGB", (20, 20), "red").save(report / "grid.png")
    port = 7000 + os.getpid() % 2000
    command = [sys.executable, "-m", "experiments.console", "app", "--generator", str(tmp_path / "generator")]
    command += ["--port", str(port), "--reports", str(tmp_path / "reports")]
    asked: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout.readline().startswith(f"http://127.0.0.1:{port}")
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.goto(f"http://127.0.0.1:{port}")
            page.fill("#prompt textarea", SKETCH, timeout=60_000)
            page.set_input_files("#photos input[type=file]", photos)
            page.wait_for_selector("#photos a >> nth=1", timeout=60_000)
            page.click("#draw")
            page.wait_for_selector(f"#gallery >> text={START}", timeout=120_000)
            page.click("#make")
            page.wait_for_selector("#file a[download]", timeout=60_000)
            with page.expect_download() as download:
                page.click("#file a[download]")
            download.value.save_as(tmp_path / "pictures.zip")
            page.get_by_role("tab", name="Comparisons").click()
            page.wait_for_selector("#report >> text=weightgen: mine", timeout=60_000)
            assert page.title() == "weightgen"
            page.close()
        finally:
            server.terminate()
    with zipfile.ZipFile(tmp_path / "pictures.zip") as content:
        assert content.namelist() == ["1.png", "2.png"]
    local = (f"http://127.0.0.1:{port}", "data:", "blob:")
    assert not [url for url in asked if not url.startswith(local)]

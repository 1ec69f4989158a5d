import numpy as np
import pytest
import torch
from PIL import Image

from weightgen.evaluation.figures.grid import grid


def test_the_sheet_holds_every_pixel(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=generator)
    grid({"input": images, "a $label_ with $": 255 - images}, ["mosaic", "x" * 300], tmp_path / "g.png", tile=32)
    sheet = np.asarray(Image.open(tmp_path / "g.png").convert("RGB"))
    for tile in (*images, *(255 - images)):
        wanted = tile.permute(1, 2, 0).numpy().repeat(4, axis=0).repeat(4, axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(sheet, (32, 32, 3))[:, :, 0]
        corner = (sheet[: len(windows), : windows.shape[1]] == wanted[0, 0]).all(axis=2)
        assert any((windows[y, x] == wanted).all() for y, x in zip(*corner.nonzero(), strict=True))


def test_the_sheet_refuses_ragged_rows(tmp_path):
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    for rows, columns in (({"a": images}, ["one"]), ({"a": images, "b": images[:1]}, ["one", "two"]), ({}, [])):
        with pytest.raises(ValueError, match="grid"):
            grid(rows, columns, tmp_path / "g.png")


def test_a_note_is_written_into_its_own_image(tmp_path):
    images = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    for name, notes in (("plain", {}), ("noted", {"a": ["", "0.123"]})):
        grid({"a": images}, ["one", "two\n(a split)"], tmp_path / f"{name}.png", notes=notes)
    plain, noted = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("plain", "noted"))
    columns = np.nonzero((plain != noted).any(axis=(0, 2)))[0]
    grey = np.nonzero((plain == 128).all(2).any(0))[0]
    assert len(columns) > 10
    assert columns.min() > grey[len(grey) // 2]  # in the second image alone

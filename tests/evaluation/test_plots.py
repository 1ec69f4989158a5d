import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from weightgen.evaluation.plots import curves, grid, mean_curve
from weightgen.evaluation.summary import collect


def run(method, concept, curve, seed=0, base="paper", split="unseen_factor"):
    """curve: [(step, seconds, fid)]."""
    keys = {"experiment": "demo", "prompt": concept, "feature_set": "efficientnet_lite0", "device": "cpu"}
    keys |= {"base": base, "split": split, "method": method, "concept": concept, "seed": seed}
    scores = {"kid": 0.0, "l1": 0.1, "perceptual": math.nan}
    return [{**keys, **scores, "step": i, "train_seconds": s, "fid": fid} for i, s, fid in curve]


def test_mean_curve_by_hand():
    rows = run("mean", "a", [(0, 0.0, 1.0), (5, 2.0, 4.0), (9, 3.0, 1.0)])
    rows += run("mean", "b", [(0, 1.0, 100.0), (5, 4.0, 9.0)])
    (methods,) = collect(rows).values()
    seconds, fid = mean_curve(methods["mean"])
    # Step 9 was evaluated by one run only.
    np.testing.assert_allclose(seconds, [0.5, 3.0])
    np.testing.assert_allclose(fid, [10.0, 6.0])


def test_curves_draws_ours_in_its_colour(tmp_path):
    rows = run("pix2pix", "a", [(0, 0.0, 300.0), (5, 20.0, 90.0)], base="none")
    rows += run("generated", "a", [(0, 0.3, 80.0), (5, 9.0, 50.0)]) + run("trained", "a", [(0, 30.0, 40.0)])
    rows += run("e2gan", "b", [(0, 0.0, 80.0), (5, 9.0, 50.0)], base="broad", split="unseen_combination")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves(rows, tmp_path / "new" / "curves.png")
    with Image.open(tmp_path / "new" / "curves.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (pixels == (0xD7, 0x30, 0x1F)).all(axis=1).sum() > 100
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]


def test_curves_without_rows(tmp_path):
    with pytest.raises(ValueError, match="no results"):
        curves([], tmp_path / "c.png")


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

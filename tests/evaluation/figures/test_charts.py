"""The figures draw what they are given, every method in its colour, unknown values included."""

import warnings

import numpy as np
import pytest
from PIL import Image

from weightgen.evaluation.curves import Point
from weightgen.evaluation.figures.charts import _known, _limits, novelty_figure, study_figure, sweep_figure
from weightgen.evaluation.figures.seconds import curves_figure
from weightgen.evaluation.methods import colour


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)


def rgb(name):
    return np.array([int(colour(name)[i : i + 2], 16) for i in (1, 3, 5)])


def curve(method, points, base="paper", split="unseen_factor"):
    """points: [(step, seconds, fid)]."""
    named = {"base": base, "split": split, "method": method, "metric": "fid"}
    return named | {"points": [Point(*point, point[2] * 0.9, point[2] * 1.1) for point in points]}


def test_curves_draws_ours_in_its_colour(tmp_path):
    curves = [curve("pix2pix", [(0, 0.0, 300.0), (5, 20.0, 90.0)])]
    curves += [curve("generated", [(0, 0.3, 80.0), (5, 9.0, 50.0)]), curve("trained", [(0, 30.0, 40.0)])]
    curves += [curve("e2gan", [(0, 0.0, 80.0), (5, 9.0, 50.0)], base="broad", split="unseen_combination")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves_figure(curves, {("paper", "unseen_factor"): 1}, "efficientnet_lite0", tmp_path / "new" / "curves.png")
    assert (pixels(tmp_path / "new" / "curves.png") == rgb("generated")).all(axis=1).sum() > 100
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]


def test_curves_without_rows(tmp_path):
    with pytest.raises(ValueError, match="no results"):
        curves_figure([], {}, "efficientnet_lite0", tmp_path / "c.png")


def test_every_method_and_the_copy_line_are_drawn(tmp_path):
    rows = [
        {"base": "all", "split": "s", "method": m, "nearest_distance": d, "train_distance": 1.2, "l1_start": 0.1 + d}
        for m, d in (("nearest", 0.0), ("generated", 0.9), ("generated", 1.1), ("trained", 1.4))
    ]
    novelty_figure(rows, tmp_path / "n.png")
    shown = pixels(tmp_path / "n.png")
    for method in ("nearest", "generated", "trained"):
        assert (np.abs(shown - rgb(method)).max(1) < 6).any(), method
    assert (np.abs(shown - 0x99).max(1) < 6).any()


def test_a_sweep_draws_each_job_and_marks_the_best(tmp_path):
    jobs = ["init=e2gan", "init=generated", "init=mean"]
    sweep_figure(jobs, {"l1": [0.3, 0.1, None], "fid": [30.0, 20.0, None]}, tmp_path / "s.png")
    sweep_figure(jobs, {"l1": [0.3, None, None], "fid": [30.0, None, None]}, tmp_path / "one.png")
    dots, fewer = ((pixels(tmp_path / name) == 0x22).all(axis=1).sum() for name in ("s.png", "one.png"))
    assert dots > fewer + 40  # two rings more


def estimate(value: str, method: str, gap: float | None, split: str = "unseen_factor"):
    ends = (None, None) if gap is None else (gap - 0.1, gap + 5.0)
    return {
        "value": value,
        "base": "all",
        "split": split,
        "method": method,
        "gap_closed": gap,
        "gap_closed_low": ends[0],
        "gap_closed_high": ends[1],
    }


def test_it_draws_every_method_but_the_levels(tmp_path):
    rows = [estimate(v, m, g) for v in ("1", "2") for m, g in (("e2gan", 0.0), ("mean", 0.2), ("generated", 0.5))]
    study_figure(rows, tmp_path / "a.png", "steps", "title")
    study_figure([*rows, estimate("2", "nearest", None)], tmp_path / "b.png", "steps", "title")
    for name in ("a.png", "b.png"):
        assert (np.abs(pixels(tmp_path / name) - rgb("generated")).max(1) < 20).sum() > 100


def test_a_speed_up_that_is_never_is_drawn_at_0_and_one_that_is_unknown_is_not():
    rows = [
        {"speedup": value, "speedup_low": low, "speedup_high": low}
        for value, low in ((4.0, 1.0), (None, 0.0), (None, None))
    ]
    assert [row["speedup"] for row in _known(rows, "speedup")] == [4.0, 0.0]
    assert _limits(rows, "speedup") == (-0.06, 4.06)


def test_an_interval_far_out_does_not_flatten_the_values():
    low, high = _limits([estimate("1", "mean", 0.2), estimate("2", "mean", None)])
    assert low < 0
    assert 1 < high < 2

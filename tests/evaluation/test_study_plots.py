"""A study's figure holds what it is given, unknown gaps included."""

import numpy as np
from PIL import Image

from weightgen.evaluation.study_plots import _limits, study_figure


def row(value: str, method: str, gap: float | None, split: str = "unseen_factor"):
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
    rows = [row(v, m, g) for v in ("1", "2") for m, g in (("e2gan", 0.0), ("mean", 0.2), ("generated", 0.5))]
    study_figure(rows, tmp_path / "a.png", "steps", "title")
    study_figure([*rows, row("2", "nearest", None)], tmp_path / "b.png", "steps", "title")
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    red = (first[..., 0] > 200) & (first[..., 1] < 60) & (first[..., 2] < 60)
    assert red.sum() > 100  # generated's colour
    assert second.shape[2] == 4


def test_an_interval_far_out_does_not_flatten_the_values():
    low, high = _limits([row("1", "mean", 0.2), row("2", "mean", None)])
    assert low < 0
    assert 1 < high < 2

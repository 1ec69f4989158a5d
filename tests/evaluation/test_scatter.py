"""The novelty scatter draws one colour per method and says where copies end."""

from pathlib import Path

import numpy as np
from PIL import Image

from weightgen.evaluation.methods import colour
from weightgen.evaluation.scatter import novelty_scatter


def test_every_method_and_the_copy_line_are_drawn(tmp_path: Path) -> None:
    rows = [
        {"base": "all", "method": m, "nearest_distance": d, "train_distance": 1.2, "l1_start": 0.1 + d}
        for m, d in (("nearest", 0.0), ("generated", 0.9), ("generated", 1.1), ("trained", 1.4))
    ]
    novelty_scatter(rows, tmp_path / "n.png")
    pixels = np.asarray(Image.open(tmp_path / "n.png").convert("RGB")).reshape(-1, 3).astype(int)
    for method in ("nearest", "generated", "trained"):
        wanted = np.array([int(colour(method)[i : i + 2], 16) for i in (1, 3, 5)])
        blended = 0.75 * wanted + 0.25 * 255
        assert (np.abs(pixels - blended).max(1) < 6).any(), method
    assert (np.abs(pixels - 0x99).max(1) < 6).any()

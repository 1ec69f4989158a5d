"""Sample images of a comparison, small enough to travel inside a page."""

import base64
import io
from collections.abc import Iterable
from typing import Any

from PIL import Image
from torch import Tensor

from experiments.reports.comparison import Sample
from experiments.reports.images import pictures

LARGEST = 128  # px: images larger than this are reduced for the page


def data_uri(image: Tensor) -> str:
    """image: uint8 (3, H, W) -> a WebP as data:image/webp;base64,..."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=88, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def image_grid(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """A dict per sample: its concept, prompt, split, seed, and as data URIs photo, target and outputs of each method."""
    grid = []
    for sample in samples:
        photo, target, outputs = pictures(sample)
        names = {name: getattr(sample, name) for name in ("concept", "prompt", "split", "seed")}
        images = {"photo": data_uri(photo), "target": data_uri(target)}
        made = [
            {"method": m, "steps": n, "start": data_uri(start), "end": None if end is None else data_uri(end)}
            for m, n, start, end in outputs
        ]
        grid.append(names | images | {"outputs": made})
    return grid

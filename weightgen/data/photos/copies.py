"""Near copies: pictures that differ by file format, compression or size alone, and must not lie on two sides of a split."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIDE = 8  # of a thumbnail, px
# Squared distance of two thumbnails, as a share of their contrast. Of 300 photos (BSDS500) any two differ by .28 and more,
# one and its JPEG of quality 30, its half size or its 64 px preview by .027 at most.
NEAR = 0.08
NOISE = 5.0  # grey levels that are added to the contrast: compression moves flat pictures, too
ROWS = 1024  # thumbnails compared with all others at once


def thumbnail(photo: "Image.Image") -> bytes:
    """RGB -> what copies of a picture have in common: 8 x 8 mean colours, 192 bytes."""
    from PIL import Image

    return photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()


def copies(thumbnails: Mapping[str, bytes]) -> dict[str, str]:
    """name -> thumbnail of each picture; -> name -> the least name among its near copies (its own where it has none).

    Copies of copies are in one group.
    """
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    names = sorted(thumbnails)
    if not names:
        return {}
    values = np.array([np.frombuffer(thumbnails[name], np.uint8) for name in names], np.float32)
    colours = values.reshape(len(names), -1, 3)
    squares = (values**2).sum(1)
    contrast = np.sqrt(((colours - colours.mean(1, keepdims=True)) ** 2).sum((1, 2)))
    near = []
    for start in range(0, len(names), ROWS):
        rows = slice(start, start + ROWS)
        distance = squares[rows, None] + squares - 2 * values[rows] @ values.T
        limit = NEAR * (contrast[rows, None] * contrast + NOISE**2 * values.shape[1])
        near.append(np.argwhere(distance <= limit) + np.array([start, 0]))
    first, second = np.concatenate(near).T
    links = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(len(names), len(names)))
    groups = connected_components(links, directed=False)[1]
    least: dict[int, str] = {}
    for name, group in zip(names, groups, strict=True):
        least.setdefault(group, name)
    return {name: least[group] for name, group in zip(names, groups, strict=True)}


def told(groups: Mapping[str, str]) -> str:
    """How many pictures there are, and how many groups of copies among them (see `copies`)."""
    return f"{len(groups)} photos, {count(groups)} groups of copies"


def count(groups: Mapping[str, str]) -> int:
    """Groups of two pictures or more."""
    return len({least for name, least in groups.items() if name != least})

"""Palettes: pointwise recolourings: a colour ramp over luminance that lets some of the colour through.

    out = ramp(curve(Y)) + keep * (x - Y),    Y = Rec. 601 luminance

A ramp recolours a pencil sketch as surely as a photo, which a hue shift would not: sketches have no hue.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from weightgen.data.concepts.vocabulary import css_colours
from weightgen.errors import DataError

Curve = Callable[[Tensor], Tensor]
Colour = tuple[float, float, float]

_LUMA: Colour = (0.299, 0.587, 0.114)
_MIN_SPAN = 0.45  # luminance between the two ends of a duotone: less, and the drawing drowns


def luminance(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W), Rec. 601, same range."""
    r, g, b = (images[:, channel : channel + 1] for channel in range(3))
    return _LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b


def _identity(y: Tensor) -> Tensor:
    return y


def _invert(y: Tensor) -> Tensor:
    return 1 - y


def _solarise(y: Tensor) -> Tensor:
    # Sabattier effect: the lights turn dark again, half-way only, or pure black and white would become one
    return (y / 0.6).minimum(1 - 1.5 * (y - 0.6))


def _darken(y: Tensor) -> Tensor:
    return y**1.5


@dataclass(frozen=True)
class Palette:
    """`stops`: colours at equally spaced luminances, dark to light; `keep`: share of the chroma kept."""

    stops: tuple[Colour, ...]
    keep: float = 0.0
    curve: Curve = _identity

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> the same shape and range."""
        y = luminance(images)
        position = self.curve(y) * (len(self.stops) - 1)
        out = self.keep * (images - y)
        for index, stop in enumerate(self.stops):
            weight = (1 - (position - index).abs()).clamp_(min=0)  # linear interpolation: a hat around each stop
            out = out + weight * images.new_tensor(stop).view(1, 3, 1, 1)
        return out.clamp_(0, 1)


def _hex(*codes: str) -> tuple[Colour, ...]:
    return tuple(tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)) for code in codes)


NAMED: dict[str, Palette] = {
    "sepia": Palette(_hex("2b1a0e", "8a5a34", "f4e3c1")),
    "monochrome": Palette(_hex("000000", "ffffff")),
    "cyanotype": Palette(_hex("04184a", "2a6cc0", "f2f7ff")),
    "infrared": Palette(_hex("12001f", "b00058", "ff5fa0", "fff0f5"), keep=0.2),
    "thermal": Palette(_hex("00002a", "6a00a8", "e5484a", "fca526", "ffffb0")),
    "negative": Palette(_hex("000000", "ffffff"), keep=-1.0, curve=_invert),
    "solarised": Palette(_hex("101418", "6f7f8c", "e8eef2"), keep=0.8, curve=_solarise),
    "pastel": Palette(_hex("8fa8d8", "f0b8d0", "fff6d8"), keep=0.35),
    "sunset": Palette(_hex("2d1045", "c8385a", "ff9e4a", "ffe9a8")),
    "moonlight": Palette(_hex("02040f", "16264f", "5f7fb8", "c3d2f2"), curve=_darken),
    "neon": Palette(_hex("0b0014", "5a00d8", "ff00c8", "00ffe8")),
    "autumn": Palette(_hex("2a1206", "9c3a0c", "dd8a1c", "f6dc92"), keep=0.15),
    "forest": Palette(_hex("08190d", "2a6630", "8cbf55", "f0f6d2"), keep=0.15),
    "ocean": Palette(_hex("01202b", "04707f", "3cc4bf", "e4fbf4"), keep=0.1),
    "golden": Palette(_hex("2c1700", "a8690c", "ffcb3d", "fff4c0"), keep=0.2),
    "rose": Palette(_hex("4a0d2a", "c45a80", "f7b3c4", "fff0f2")),
    "vintage": Palette(_hex("4c4a52", "93897c", "d8cdae"), keep=0.45),
    "arctic": Palette(_hex("1c4a66", "86bdd6", "dcf3fb", "ffffff")),
    "lavender": Palette(_hex("261447", "7b5cbc", "c9b0ee", "faf4ff")),
    "ember": Palette(_hex("060000", "7a0800", "f04a00", "ffd84f")),
    "nightvision": Palette(_hex("001000", "0a5c1a", "3fe048", "d8ffc8")),
    "candy": Palette(_hex("5b1a9b", "ff4fa3", "ffc94f", "a8fbe4")),
    "patina": Palette(_hex("1f1410", "9a4f2c", "4fa794", "d8f0e2")),
    "mud": Palette(_hex("0c0906", "3c2a18", "6e5030", "a5834f")),
}


def duotone(dark: Colour, light: Colour) -> Palette:
    """Dark ink for the shadows, light ink for the lights, pushed apart until the drawing shows."""
    low, high = (sum(w * c for w, c in zip(_LUMA, colour, strict=True)) for colour in (dark, light))
    # Moving both ends by this share of their way to black and to white makes the span exactly _MIN_SPAN.
    share = max(0.0, _MIN_SPAN - (high - low)) / (1 - (high - low)) if high - low < 1 else 0.0
    return Palette((tuple(c * (1 - share) for c in dark), tuple(c + (1 - c) * share for c in light)))


def palette(key: str) -> Palette:
    """Key of `grammar.PALETTES`, or any "duotone:<css colour>:<css colour>". DataError: neither of these."""
    if key in NAMED:
        return NAMED[key]
    kind, *names = key.split(":")
    if kind != "duotone" or len(names) != 2 or not all(name in css_colours() for name in names):
        raise DataError(f"unknown palette {key!r}; use one of {', '.join(NAMED)} or duotone:<css colour>:<css colour>")
    dark, light = (tuple(channel / 255 for channel in css_colours()[name]) for name in names)
    return duotone(dark, light)

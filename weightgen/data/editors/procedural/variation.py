"""Edits that vary from photo to photo, as a diffusion editor's do: how strong, in which tones, how coarse, where the grid.

Nothing can predict such a draw from the photo, so that no translator, however long it trains, can end nearer to the targets
than a second draw of the same edits is.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from weightgen.errors import DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BROAD = ("strength", "colour", "scale")  # what one number sets
LEAST_STRENGTH = 0.65  # of the edit; the rest is the photo
GAIN, GAMMA = 0.12, 0.22  # each channel times 1 +- GAIN, all to the power e ** +-GAMMA
SCALE = 0.25  # lengths times e ** +-SCALE
PHASE = 8  # the grid moves by 0 to PHASE 64ths of a side


@dataclass(frozen=True)
class Variation:
    """How far each dial is turned, from 0 (the same edit for every photo) to 1 (the spans above)."""

    strength: float = 0.0
    colour: float = 0.0
    scale: float = 0.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        for dial, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise DataError(f"editor.variation.{dial}={value!r}: takes 0 to 1")

    @classmethod
    def of(cls, given: "float | Mapping[str, float]") -> "Variation":
        """A number for BROAD together, or a value for each dial that is turned. DataError: another dial."""
        if not isinstance(given, Mapping):
            return cls(**dict.fromkeys(BROAD, given))
        if unknown := set(given) - {field.name for field in fields(cls)}:
            raise DataError(f"editor.variation has no {sorted(unknown)[0]}: turn strength, colour, scale or phase")
        return cls(**given)

    def turned(self) -> dict[str, float]:
        """The dials that are not at 0."""
        return {dial: value for dial, value in asdict(self).items() if value}

    def draw(self, photos: int, noise: "torch.Generator") -> "Draw":
        """Of each of `photos` photos, all dials at once: turning one does not change what the others draw."""
        import torch

        u = torch.rand(photos, 7, generator=noise)
        signed = 2 * u - 1
        return Draw(
            strength=1 - (1 - LEAST_STRENGTH) * self.strength * u[:, 0],
            gain=1 + GAIN * self.colour * signed[:, 1:4],
            gamma=(GAMMA * self.colour * signed[:, 4]).exp(),
            scale=[math.exp(SCALE * self.scale * value) for value in signed[:, 5].tolist()],
            phase=[PHASE * self.phase * value for value in u[:, 6].tolist()],
            drawn_alike=not self.scale and not self.phase,
        )


@dataclass(frozen=True)
class Draw:
    """Of N photos. strength: (N,), the edit's share; gain: (N, 3); gamma: (N,); scale: factors of all lengths; phase: in
    64ths of a side. drawn_alike: whether scale and phase are the same for all."""

    strength: "Tensor"
    gain: "Tensor"
    gamma: "Tensor"
    scale: list[float]
    phase: list[float]
    drawn_alike: bool

    def toned(self, photos: "Tensor", edits: "Tensor") -> "Tensor":
        """Edits in other tones, mixed with their photos; all (N, 3, H, W) in [0, 1]."""
        each = (slice(None), None, None, None)
        edits = (edits.clamp(0, 1) ** self.gamma[each] * self.gain[:, :, None, None]).clamp(0, 1)
        return photos + self.strength[each] * (edits - photos)

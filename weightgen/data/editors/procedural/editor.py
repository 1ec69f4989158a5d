"""The offline editor: a medium, then a palette. Exact, fast and a real composition of two factors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from weightgen.data.concepts.vocabulary import Factors, parse_prompt
from weightgen.data.editors.procedural.variation import Draw, Variation
from weightgen.data.pairs import Pairs
from weightgen.errors import DataError
from weightgen.rng import stream

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1  # belongs into the key of everything made with this editor: raise it when any pixel changes

_CHUNK_PIXELS = 16 * 64 * 64  # images handled at once: larger chunks leave the cache and are slower


class _HasPrompt(Protocol):
    prompt: str
    factors: Factors


class ProceduralEditor:
    """Edits by rule instead of by diffusion model; understands grammar prompts only.

    seed: moves the grid of patterned media (dots, tiles, strokes) by `seed` pixels. variation: how much the edit differs
    from photo to photo, see `Variation.of`.
    """

    version = VERSION

    def __init__(self, seed: int = 0, variation: "float | Mapping[str, float]" = 0.0) -> None:
        self.seed, self.variation = seed, Variation.of(variation)

    @staticmethod
    def identity(options: Mapping[str, Any], files: Path) -> dict[str, Any]:
        """Its options as keys hold them: a variation that is none is not there."""
        turned = Variation.of(options.get("variation", 0.0)).turned()
        kept = {name: value for name, value in options.items() if name != "variation"}
        return kept | ({"variation": turned} if turned else {})

    @staticmethod
    def varies(options: Mapping[str, Any]) -> bool:
        return bool(Variation.of(options.get("variation", 0.0)).turned())

    def pairs(self, photos: "Mapping[str, Tensor]", concept: _HasPrompt, folder: Path) -> Pairs:
        """photos[part]: uint8 (N, 3, S, S) -> their edits; too fast to keep any in `folder` meanwhile.

        Where they vary, photos other than train ones are edited again: how far a second draw is from the first is a floor
        for every translator.
        """
        targets = {part: self._edited(images, concept, part, 0) for part, images in photos.items()}
        again = {part: photos[part] for part in photos if part != "train" and self.variation.turned()}
        return Pairs(targets, again={part: self._edited(images, concept, part, 1) for part, images in again.items()})

    def _edited(self, images: "Tensor", concept: _HasPrompt, part: str, draw: int) -> "Tensor":
        """uint8 (N, 3, S, S) -> the same, the edits of draw number `draw`."""
        noise = stream(self.seed, f"editor/variation/{part}/{concept.prompt}", draw)
        drawn = self.variation.draw(len(images), noise) if self.variation.turned() else None
        return (self.edit(images.float() / 255, concept, drawn) * 255).round().byte()

    def edit(self, images: "Tensor", concept: _HasPrompt, draw: "Draw | None" = None) -> "Tensor":
        """images: (B, 3, H, W) float32 in [0, 1], H, W >= 16 -> the concept's pictures, same shape and range.

        A factor that the prompt does not name leaves its part alone. draw: how each photo's edit differs; None: not at all.
        DataError: a prompt the grammar cannot read, an image too small or not RGB float.
        """
        import torch  # keys ask an editor who it is, and need not wait for this

        from weightgen.data.editors.procedural.media import RENDERERS, Canvas
        from weightgen.data.editors.procedural.palettes import palette

        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise DataError(f"the editor wants float (B, 3, H, W) in [0, 1]; got {tuple(images.shape)}, {images.dtype}")
        if min(images.shape[-2:]) < 16:
            raise DataError(f"the procedural editor needs sides of 16 px or more; got {tuple(images.shape[-2:])}")
        factors = dict(concept.factors or parse_prompt(concept.prompt))
        unknown = set(factors) - {"medium", "palette"}
        if unknown or factors.get("medium", "oil") not in RENDERERS:
            raise DataError(f"the procedural editor does not know {factors}; media: {', '.join(RENDERERS)}")
        plain, unit = Canvas.of(images, offset=self.seed), min(images.shape[-2:]) / 64
        count = max(1, _CHUNK_PIXELS // (images.shape[-2] * images.shape[-1]))

        def drawn(piece: "Tensor", canvas: Canvas = plain) -> "Tensor":
            if "medium" in factors:
                piece = RENDERERS[factors["medium"]](piece, canvas).clamp(0, 1)
            if "palette" in factors:
                piece = palette(factors["palette"])(piece)
            return piece.clamp(0, 1)

        with torch.no_grad():
            if draw is None or draw.drawn_alike:
                pieces = [drawn(piece) for piece in images.split(count)]
            else:  # each photo on a canvas of its own
                moved = (Canvas.of(images, self.seed + round(unit * phase)) for phase in draw.phase)
                own = [replace(canvas, unit=canvas.unit * f) for canvas, f in zip(moved, draw.scale, strict=True)]
                pieces = [drawn(image[None], canvas) for image, canvas in zip(images, own, strict=True)]
            edits = torch.cat(pieces) if pieces else images.clone()
            return edits if draw is None else draw.toned(images, edits)

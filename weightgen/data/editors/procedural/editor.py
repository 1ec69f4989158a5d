"""The offline editor: a medium, then a palette. Exact, fast and a real composition of two factors."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from weightgen.data.concepts.vocabulary import Factors, parse_prompt
from weightgen.data.pairs import Pairs
from weightgen.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1  # belongs into the key of everything made with this editor: raise it when any pixel changes

_CHUNK_PIXELS = 16 * 64 * 64  # images handled at once: larger chunks leave the cache and are slower


class _HasPrompt(Protocol):
    prompt: str
    factors: Factors


class ProceduralEditor:
    """Edits by rule instead of by diffusion model; understands grammar prompts only.

    seed: moves the grid of patterned media (dots, tiles, strokes) by `seed` pixels.
    """

    version = VERSION

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def pairs(self, photos: "Mapping[str, Tensor]", concept: _HasPrompt, folder: Path) -> Pairs:
        """photos[part]: uint8 (N, 3, S, S) -> their edits; too fast to keep any in `folder` meanwhile."""
        return Pairs(
            {part: (self.edit(images.float() / 255, concept) * 255).round().byte() for part, images in photos.items()}
        )

    def edit(self, images: "Tensor", concept: _HasPrompt) -> "Tensor":
        """images: (B, 3, H, W) float32 in [0, 1], H, W >= 16 -> the concept's pictures, same shape and range.

        A factor that the prompt does not name leaves its part alone. DataError: a prompt the grammar cannot
        read, an image too small or not RGB float.
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
        canvas = Canvas.of(images, offset=self.seed)
        count = max(1, _CHUNK_PIXELS // (images.shape[-2] * images.shape[-1]))

        def drawn(piece: "Tensor") -> "Tensor":
            if "medium" in factors:
                piece = RENDERERS[factors["medium"]](piece, canvas).clamp(0, 1)
            if "palette" in factors:
                piece = palette(factors["palette"])(piece)
            return piece.clamp(0, 1)

        with torch.no_grad():
            pieces = [drawn(piece) for piece in images.split(count)]
        return torch.cat(pieces) if pieces else images.clone()

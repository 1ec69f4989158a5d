"""FLUX.2 [klein]: instruction editing in four steps by a distilled 4 B flow transformer (Black Forest Labs, 2026)."""

from typing import Any

from weightgen.data.editors.diffusion.editor import DiffusionEditor
from weightgen.errors import DataError


class Flux2KleinEditor(DiffusionEditor):
    """The prompt says what to make of the photo. guidance_scale counts for base (not distilled) models only."""

    pipeline = "weightgen.data.editors.diffusion.flux2_batched:BatchedFlux2KleinPipeline"
    multiple = 16  # the VAE halves sides three times, patches once more
    smallest = 64

    def __init__(self, model: str, max_sequence_length: int = 512, **options: Any) -> None:
        """max_sequence_length: tokens that prompts are padded to."""
        super().__init__(model, **options)
        if self.negative_prompt:
            raise DataError("editor.negative_prompt: FLUX.2 takes none; leave it out")
        self.max_sequence_length = max_sequence_length

    def _options(self, count: int) -> dict[str, Any]:
        return {"guidance_scale": self.guidance_scale, "max_sequence_length": self.max_sequence_length}

    def _components(self) -> dict[str, Any]:
        return {}

"""Editing with Stable Diffusion's families: by instruction, or from a noised photo."""

from typing import Any

from weightgen.data.editors.diffusion.editor import DiffusionEditor
from weightgen.errors import DataError


class InstructPix2PixEditor(DiffusionEditor):
    """InstructPix2Pix (Brooks et al., arXiv 2211.09800). image_guidance_scale: closeness to the photo, 1 or more."""

    pipeline = "StableDiffusionInstructPix2PixPipeline"

    def __init__(self, model: str, image_guidance_scale: float = 1.5, **options: Any) -> None:
        super().__init__(model, **options)
        if image_guidance_scale < 1:
            raise DataError(f"editor.image_guidance_scale={image_guidance_scale}: 1 or more")
        self.image_guidance_scale = image_guidance_scale

    def _options(self, count: int) -> dict[str, Any]:
        return super()._options(count) | {"image_guidance_scale": self.image_guidance_scale}

    def _check(self, pipe: Any) -> None:
        super()._check(pipe)
        channels = pipe.vae.config.latent_channels
        if pipe.unet.config.in_channels != 2 * channels:
            raise DataError(
                f"editor.model={self.model} takes {pipe.unet.config.in_channels} channels, InstructPix2Pix "
                f"{2 * channels}: a plain text-to-image model wants editor=img2img or editor=ddim_inversion"
            )


class ImageToImageEditor(DiffusionEditor):
    """SDEdit: noise the photo, denoise it towards the prompt. Any family of diffusers' AutoPipelineForImage2Image.

    strength: share of the steps that run, in (0, 1]; 1 forgets the photo.
    """

    pipeline = "AutoPipelineForImage2Image"

    def __init__(self, model: str, strength: float = 0.6, **options: Any) -> None:
        super().__init__(model, **options)
        if not 0 < strength <= 1 or int(self.steps * strength) < 1:
            raise DataError(
                f"editor.strength={strength}, editor.steps={self.steps}: strength in (0, 1], and strength x steps "
                "1 or more"
            )
        self.strength = strength

    def _options(self, count: int) -> dict[str, Any]:
        return super()._options(count) | {"strength": self.strength}

"""FLUX.2 [klein] on many photos a call. Imported by name when an editor loads it: diffusers takes seconds to import."""

import torch
from diffusers import Flux2KleinPipeline
from torch import Tensor


class BatchedFlux2KleinPipeline(Flux2KleinPipeline):
    """Reads `image` as one photo for each prompt; diffusers' own takes them all as references of every prompt."""

    def prepare_image_latents(
        self,
        images: list[Tensor],
        batch_size: int,
        generator: torch.Generator | list[torch.Generator],
        device: torch.device,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """images: B of (1, 3, H, W), one size -> packed latents (B, L, C), their coordinates (B, L, 4)."""
        if len(images) != batch_size:
            raise ValueError(f"{len(images)} photos for {batch_size} prompts")
        batch = torch.cat(images).to(device=device, dtype=dtype)
        latents = self._encode_vae_image(image=batch, generator=generator)
        ids = self._prepare_image_ids([latents[:1]]).expand(batch_size, -1, -1)
        return self._pack_latents(latents).to(device), ids.to(device)

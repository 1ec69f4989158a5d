"""Editing with a plain text-to-image model: DDIM inversion of the photo, then denoising towards the prompt."""

from typing import TYPE_CHECKING, Any

from weightgen.data.editors.diffusion.editor import DiffusionEditor
from weightgen.errors import DataError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor


class DdimInversionEditor(DiffusionEditor):
    """DDIM inversion (Song et al., arXiv 2010.02502, eq. 13 run backwards), and with null_text_steps > 0 null-text inversion
    (Mokady et al., arXiv 2211.09794, algorithm 1), without attention control. Any Stable Diffusion 1 or 2 model.

    source_prompt: what photos show, for all of them. null_text_steps: Adam steps on the unconditional embedding at each
    denoising step (the paper: 10), so that guided sampling of the source prompt retraces the photo; 0: none.
    Nothing here is random: seeds and retries change no pixel.
    """

    pipeline = "StableDiffusionPipeline"

    def __init__(
        self,
        model: str,
        source_prompt: str = "a photo",
        null_text_steps: int = 0,
        null_text_lr: float = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        if null_text_steps < 0:
            raise DataError(f"editor.null_text_steps={null_text_steps}: 0 or more")
        if null_text_steps and self.dtype != "float32":
            raise DataError(f"editor.dtype={self.dtype}: null-text inversion trains, which wants float32")
        self.source_prompt, self.null_text_steps, self.null_text_lr = (source_prompt, null_text_steps, null_text_lr)

    def _check(self, pipe: Any) -> None:
        super()._check(pipe)
        config = pipe.unet.config
        if config.in_channels != pipe.vae.config.latent_channels or config.addition_embed_type:
            raise DataError(
                f"editor.model={self.model} is no plain text-to-image model (Stable Diffusion 1 or 2): "
                "use editor=instruct_pix2pix or editor=img2img"
            )
        pipe.unet.requires_grad_(False)

    def _call(self, pipe: Any, images: "list[Image.Image]", prompt: str, noise: "list[torch.Generator]") -> "Tensor":
        device = pipe._execution_device
        source, target, empty = (
            pipe.encode_prompt([text] * len(images), device, 1, False)[0]
            for text in (self.source_prompt, prompt, self.negative_prompt)
        )
        pixels = pipe.image_processor.preprocess(images).to(device, pipe.vae.dtype)
        latents = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
        path = self.invert(pipe, latents, source)
        unconditional = [empty] * self.steps
        if self.null_text_steps:
            unconditional = self.null_text(pipe, path, source, empty)
        edited = self.denoise(pipe, path[-1], target, unconditional) / pipe.vae.config.scaling_factor
        decoded = pipe.vae.decode(edited).sample
        pipe.maybe_free_model_hooks()
        decoded = (decoded / 2 + 0.5).clamp(0, 1)
        return self._checked(pipe, decoded)

    def _checked(self, pipe: Any, images: "Tensor") -> "Tensor":
        """Flagged images black, where a safety checker is wanted."""
        if not self.safety_checker:
            return images
        images, _ = pipe.run_safety_checker(images, images.device, images.dtype)
        return images

    def _scheduler(self, pipe: Any, name: str) -> Any:
        """A DDIM scheduler on the model's own noise schedule."""
        import diffusers

        chosen = getattr(diffusers, name).from_config(
            pipe.scheduler.config, clip_sample=False, timestep_spacing="leading"
        )
        chosen.set_timesteps(self.steps, device=pipe._execution_device)
        return chosen

    def invert(self, pipe: Any, latents: "Tensor", prompt: "Tensor") -> "list[Tensor]":
        """latents: (B, 4, h, w) of photos; prompt: (B, L, E) -> steps + 1 latents, from the photo to its noise."""
        scheduler, path = self._scheduler(pipe, "DDIMInverseScheduler"), [latents]
        for t in scheduler.timesteps:
            output = pipe.unet(path[-1], t, encoder_hidden_states=prompt).sample
            path.append(scheduler.step(output, t, path[-1]).prev_sample)
        return path

    def denoise(self, pipe: Any, noise: "Tensor", prompt: "Tensor", unconditional: "list[Tensor]") -> "Tensor":
        """noise: (B, 4, h, w) -> latents; unconditional[i]: (B, L, E), the embedding of step i to guide away from."""
        scheduler, latents = self._scheduler(pipe, "DDIMScheduler"), noise
        for t, empty in zip(scheduler.timesteps, unconditional, strict=True):
            output = self._guided(pipe, latents, t, prompt, empty)
            latents = scheduler.step(output, t, latents).prev_sample
        return latents

    def _guided(self, pipe: Any, latents: "Tensor", t: "Tensor", prompt: "Tensor", empty: "Tensor") -> "Tensor":
        """e_empty + w (e_prompt - e_empty), w the guidance scale."""
        conditional = pipe.unet(latents, t, encoder_hidden_states=prompt).sample
        if self.guidance_scale == 1:
            return conditional
        away = pipe.unet(latents, t, encoder_hidden_states=empty).sample
        return away + self.guidance_scale * (conditional - away)

    def null_text(self, pipe: Any, path: "list[Tensor]", prompt: "Tensor", empty: "Tensor") -> "list[Tensor]":
        """Unconditional embeddings, one a step, with which guided sampling of `prompt` follows `path` back."""
        import torch
        from torch.nn.functional import mse_loss

        scheduler, latents, found = self._scheduler(pipe, "DDIMScheduler"), path[-1], []
        for t, goal in zip(scheduler.timesteps, reversed(path[:-1]), strict=True):
            empty = empty.detach().clone()
            with torch.enable_grad():
                empty.requires_grad_()
                optimizer = torch.optim.Adam([empty], lr=self.null_text_lr * (1 - len(found) / (2 * self.steps)))
                for _ in range(self.null_text_steps):
                    output = self._guided(pipe, latents, t, prompt, empty)
                    step = scheduler.step(output, t, latents).prev_sample
                    # summed over photos: each one's gradient is its own, whatever the batch
                    loss = mse_loss(step.float(), goal.float(), reduction="none").flatten(1).mean(1).sum()
                    (empty.grad,) = torch.autograd.grad(loss, [empty])
                    optimizer.step()
            found.append(empty.detach())
            output = self._guided(pipe, latents, t, prompt, found[-1])
            latents = scheduler.step(output, t, latents).prev_sample
        return found

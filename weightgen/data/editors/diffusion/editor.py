"""Diffusion editors: what the thin classes over diffusers' editing pipelines share (paper, method step 2)."""

import gc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from weightgen.data.editors.diffusion import models
from weightgen.data.pairs import Pairs
from weightgen.errors import DataError
from weightgen.files import sha256

if TYPE_CHECKING:  # keys ask an editor for its identity, which needs neither torch nor Pillow
    import torch
    from PIL import Image
    from torch import Tensor

VERSION = 1  # of what all these editors share; belongs into the key of everything made with them
RUNTIME = ("device", "batch_size", "attention_slicing", "offload", "workers")  # how fast, not what


class HasPrompt(Protocol):
    name: str
    prompt: str


class DiffusionEditor:
    """Base: loading, seeds, batches, sizes. A subclass names its pipeline and calls it.

    model: hub id, or the folder of a saved pipeline (safetensors); revision: of a hub id. dtype: float32, float16, bfloat16.
    size: px at which the model works, photos are brought there and back (None: the model's own). seed: with a photo's
    content it determines the photo's noise, so neither order nor batch changes it. prompt_template: the model's input,
    {prompt} being the concept's. min_change: mean absolute difference to the photo, in [0, 1], below which an edit counts as
    unchanged. retries: how often a photo whose edit came out unchanged, black or not a number is edited again, from another
    seed; then its pair is left out, and an error says so where a part keeps under `min_kept` of its photos.
    safety_checker: the model's own, whose flagged images are black. device: auto, cpu, cuda, cuda:1, mps. offload: none,
    model, or sequential (least GPU memory, slowest). workers: how many processes load a model of their own (0: as many as
    the strategy has).
    """

    version = VERSION
    pipeline = ""  # class of diffusers, or module:class
    multiple = 8  # what sides must be divisible by
    smallest = 16  # px that the pipeline takes

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        dtype: str = "float32",
        device: str = "auto",
        size: int | None = None,
        steps: int = 20,
        guidance_scale: float = 7.5,
        negative_prompt: str = "",
        prompt_template: str = "{prompt}",
        seed: int = 0,
        batch_size: int = 8,
        min_change: float = 0.01,
        retries: int = 1,
        min_kept: float = 0.5,
        safety_checker: bool = False,
        attention_slicing: bool = False,
        offload: str = "none",
        workers: int = 1,
    ) -> None:
        if dtype not in ("float32", "float16", "bfloat16"):
            raise DataError(f"editor.dtype={dtype}: choose float32, float16 or bfloat16")
        if offload not in ("none", "model", "sequential"):
            raise DataError(f"editor.offload={offload}: choose none, model or sequential")
        if "{prompt}" not in prompt_template:
            raise DataError(f"editor.prompt_template={prompt_template!r}: say where the prompt goes, {{prompt}}")
        if size is not None and (size % self.multiple or size < self.smallest):
            raise DataError(
                f"editor.size={size}: choose a multiple of {self.multiple}, {self.smallest} or more, or null"
            )
        for name, value, least in (("steps", steps, 1), ("batch_size", batch_size, 1), ("retries", retries, 0)):
            if value < least:
                raise DataError(f"editor.{name}={value}: {least} or more")
        for name, value in (("min_change", min_change), ("min_kept", min_kept)):
            if not 0 <= value <= 1:
                raise DataError(f"editor.{name}={value}: choose a number in [0, 1]")
        self.model, self.revision, self.dtype, self.device = model, revision, dtype, device
        self.size, self.steps, self.guidance_scale = size, steps, guidance_scale
        self.negative_prompt, self.prompt_template, self.seed = negative_prompt, prompt_template, seed
        self.batch_size, self.min_change, self.retries, self.min_kept = (batch_size, min_change, retries, min_kept)
        self.safety_checker, self.attention_slicing, self.offload = safety_checker, attention_slicing, offload
        self.workers = workers
        self._pipe: Any = None

    @classmethod
    def identity(cls, options: Mapping[str, Any], memory: Path | None = None) -> dict[str, Any]:
        """What of an editor's options decides its pixels: a local model by its content, a hub model by id and revision.

        memory: file where content hashes are kept. MissingModel: a folder of no model.
        """
        chosen = {name: value for name, value in options.items() if name not in RUNTIME}
        if folder := models.local_folder(chosen["model"]):
            del chosen["model"]
            chosen.pop("revision", None)
            chosen["model_sha256"] = models.content(folder.resolve(), memory)
        return chosen

    def pairs(self, photos: "Mapping[str, Tensor]", concept: HasPrompt, folder: Path) -> Pairs:
        """photos[part]: uint8 (N, 3, S, S) -> their edits, batch after batch kept in `folder` until all are done."""
        from weightgen.data.editors.resumable import edit_photos

        return edit_photos(self, photos, concept, folder)

    def edit(self, photos: "Tensor", concept: HasPrompt, attempt: int = 0) -> "Tensor":
        """photos: uint8 (B, 3, S, S), a batch -> float32 (B, 3, S, S), in [0, 1] where finite."""
        import torch
        from PIL import Image
        from torch.nn.functional import interpolate

        side, pipe = photos.shape[-1], self.loaded()
        size = self.size or self._native(pipe) or -(-max(side, self.smallest) // self.multiple) * self.multiple
        images = photos.float() / 255
        if size != side:
            images = interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
        arrays = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        prompt = self.prompt_template.replace("{prompt}", concept.prompt)
        generators = [torch.Generator().manual_seed(self._seed(photo, attempt)) for photo in photos]
        with torch.no_grad():
            edited = self._call(pipe, [Image.fromarray(a) for a in arrays], prompt, generators)
        edited = edited.float().cpu()
        if edited.shape[-2:] != photos.shape[-2:]:
            finite = edited.isfinite().flatten(1).all(1)  # resizing would spread a NaN, or lose it in a clamp
            edited = interpolate(edited, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
            edited[~finite] = torch.nan
        return edited

    @staticmethod
    def _native(pipe: Any) -> int | None:
        """px that the model was made for, where it says so."""
        net = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
        latent = getattr(net.config, "sample_size", None) or getattr(pipe, "default_sample_size", None)
        return latent * pipe.vae_scale_factor if isinstance(latent, int) else None

    def _seed(self, photo: "Tensor", attempt: int) -> int:
        """63 bits of (seed, photo's pixels, attempt): equal photos get equal noise, on any machine and for every concept."""
        pixels = photo.contiguous().numpy().tobytes()
        return int(sha256(f"{self.seed}/{attempt}/".encode() + pixels)[:16], 16) >> 1

    def _call(self, pipe: Any, images: "list[Image.Image]", prompt: str, noise: "list[torch.Generator]") -> "Tensor":
        """-> (B, 3, H, W) in [0, 1], not a number where the model says so; one generator an image."""
        count = len(images)
        return pipe(
            prompt=[prompt] * count,
            image=images,
            generator=noise,
            num_inference_steps=self.steps,
            output_type="pt",
            **self._options(count),
        ).images

    def _options(self, count: int) -> dict[str, Any]:
        """What else the pipeline is called with, for `count` images."""
        negative = {"negative_prompt": [self.negative_prompt] * count} if self.negative_prompt else {}
        return {"guidance_scale": self.guidance_scale, **negative}

    def loaded(self) -> Any:
        """The pipeline on its device, loaded at the first use and then shared by all concepts."""
        if self._pipe is None:
            import torch

            device = self.device
            if device == "auto":
                device = str(torch.accelerator.current_accelerator(check_available=True) or "cpu")
            if device == "cpu" and self.offload != "none":
                raise DataError(f"editor.offload={self.offload} spares GPU memory: leave it out on a CPU")
            pipe = models.load_pipeline(
                self.pipeline, self.model, self.revision, torch_dtype=getattr(torch, self.dtype), **self._components()
            )
            self._check(pipe)
            pipe.set_progress_bar_config(disable=True)
            if self.attention_slicing:
                pipe.enable_attention_slicing()
            if self.offload == "model":
                pipe.enable_model_cpu_offload(device=device)
            elif self.offload == "sequential":
                pipe.enable_sequential_cpu_offload(device=device)
            else:
                pipe.to(device)
            self._pipe = pipe
        return self._pipe

    def release(self) -> None:
        """Give the model's memory back; the next edit loads it again."""
        if self._pipe is not None:
            import torch

            self._pipe = None
            gc.collect()
            torch.cuda.empty_cache()  # nothing without a GPU

    def _components(self) -> dict[str, Any]:
        """Parts of the pipeline to replace: no safety checker unless one is wanted."""
        return {} if self.safety_checker else {"safety_checker": None, "requires_safety_checker": False}

    def _check(self, pipe: Any) -> None:
        """DataError where the model does not suit the options."""
        if self.safety_checker and getattr(pipe, "safety_checker", None) is None:
            raise DataError(f"editor.safety_checker=true: {self.model} has none; set it to false")

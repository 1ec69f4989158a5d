"""From a prompt to a translator: the weight generator of a finished run in three lines."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.errors import DataError, MissingArtifact, WeightgenError
from weightgen.files import read_json, save_tensors, write_json
from weightgen.rng import stream
from weightgen.text.encoders import TextEncoder, TextFeatures
from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state
from weightgen.translation.training import translate
from weightgen.weights import BlockLayout, Normalizer


@dataclass(frozen=True)
class BlockGenerator:
    """denoiser + sampler + layout + normaliser: text -> blocks (PAPER Method 6)."""

    denoiser: nn.Module
    sampler: Sampler
    layout: BlockLayout
    normalizer: Normalizer

    def __call__(self, text: TextFeatures, noise: torch.Generator) -> Tensor:
        """text: N concepts -> (N, K, D), denormalised; every block of every concept in one batch."""
        index = torch.arange(self.layout.blocks, device=text.tokens.device).expand(len(text), -1)
        valid = self.layout.valid().to(text.tokens.device)
        blocks = self.sampler.sample(
            self.denoiser, index, text.tokens, text.mask, self.layout.size, noise, valid=valid.expand(len(text), -1, -1)
        )
        return self.normalizer.denormalize(blocks) * valid


class Translator:
    """A translator for one prompt. Call it with images; `model` is the generator with its LoRA."""

    def __init__(self, model: nn.Module, text: TextFeatures) -> None:
        self.model = model
        self.text = text

    def __call__(self, images: Tensor, batch_size: int = 64) -> Tensor:
        """images: (N, 3, H, W), uint8 in [0, 255] or float in [0, 1] -> the same kind.

        Raises DataError otherwise.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise DataError(f"images have shape {tuple(images.shape)}; a translator wants (N, 3, H, W)")
        if any(side % self.model.multiple for side in images.shape[2:]):
            raise DataError(
                f"images are {tuple(images.shape[2:])} px: this translator wants sides that divide by "
                f"{self.model.multiple}"
            )
        as_bytes = images if images.dtype == torch.uint8 else (images.clamp(0, 1) * 255).round().to(torch.uint8)
        out = translate(self.model, as_bytes, self.text.tokens, self.text.mask, batch_size)
        return out if images.dtype == torch.uint8 else out.float() / 255


class WeightGenerator:
    """`WeightGenerator.load(folder)("a mosaic in sepia tones")(images)`."""

    def __init__(self, base: nn.Module, lora: LoraSpec, blocks: BlockGenerator, encoder: TextEncoder) -> None:
        self.lora = lora
        self.blocks = blocks
        self.encoder = encoder
        self.base = base.eval()

    def __call__(self, prompt: str, seed: int = 0) -> Translator:
        """A translator for `prompt`, its LoRA denoised in one pass. Raises DataError for a blank prompt."""
        if not prompt.strip():
            raise DataError("the prompt is blank; say what the translator should do, e.g. 'a mosaic in sepia tones'")
        text = self.encoder.encode([prompt])
        blocks = self.blocks(text, stream(seed, "init/noise"))[0]
        model = load_lora_state(inject_lora(self.base, self.lora), self.blocks.layout.from_blocks(blocks))
        return Translator(model.eval(), text)

    def save(self, folder: Path | str, description: Mapping[str, Any]) -> None:
        """Write generator.json and three safetensors files.

        description: {"translator", "denoiser", "text_encoder": {"_target_": dotted name, **arguments},
        "lora": ..., "prediction": ..., "steps": ...}: what `load` needs to make the nets again.
        """
        folder = Path(folder)
        save_tensors(folder / "base.safetensors", self.base.state_dict())
        save_tensors(folder / "denoiser.safetensors", self.blocks.denoiser.state_dict())
        save_tensors(folder / "normalizer.safetensors", self.blocks.normalizer.state())
        content = {**description, "layout": self.blocks.layout.to_json()}
        write_json(folder / "generator.json", content)

    @classmethod
    def load(cls, folder: Path | str) -> "WeightGenerator":
        """Raises MissingArtifact if `folder` holds no saved generator."""
        folder = Path(folder)
        if not (folder / "generator.json").exists():
            raise MissingArtifact(
                f"{folder} holds no generator.json: run `make demo`, then load reports/demo/generator"
            )
        content = read_json(folder / "generator.json")
        base, denoiser = build(content["translator"]), build(content["denoiser"])
        base.load_state_dict(load_file(folder / "base.safetensors"))
        denoiser.load_state_dict(load_file(folder / "denoiser.safetensors"))
        layout = BlockLayout.from_json(content["layout"])
        normalizer = Normalizer(**load_file(folder / "normalizer.safetensors"))
        sampler = Sampler(make_scheduler(content["prediction"]), steps=content["steps"])
        blocks = BlockGenerator(denoiser.eval(), sampler, layout, normalizer)
        return cls(base, LoraSpec(**content["lora"]), blocks, build(content["text_encoder"]))


def build(description: Mapping[str, Any]) -> Any:
    """An object of this package from {"_target_": "weightgen....Class", **arguments}.

    Raises WeightgenError for any other target: a downloaded JSON must not choose what code runs.
    """
    arguments = dict(description)
    module, _, name = str(arguments.pop("_target_")).rpartition(".")
    ours = module.split(".")[0] == "weightgen"
    found = getattr(importlib.import_module(module), name, None) if ours else None
    if not isinstance(found, type) or not found.__module__.startswith("weightgen."):
        raise WeightgenError(f"{module}.{name} is not part of weightgen: a saved generator may only name its classes")
    return found(**arguments)

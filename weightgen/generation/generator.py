"""From a prompt to a translator: the weight generator of a finished run in three lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from weightgen.choices import Choices, make
from weightgen.diffusion import DENOISERS
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.errors import DataError, MissingArtifact, WeightgenError
from weightgen.files import read_json, save_tensors, write_json
from weightgen.rng import stream
from weightgen.text import TEXT_ENCODERS
from weightgen.text.encoders import TextEncoder, TextFeatures
from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state
from weightgen.translation.nets import TRANSLATORS
from weightgen.translation.training import translate
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer

LARGEST = 2**16  # of any size that a net's description names


def _net(table: Choices, options: Mapping[str, Any], file: Path) -> nn.Module:
    """A net with the weights of a file. Sizes are compared before any memory is taken for it.

    Raises WeightgenError if they are not each other's, or a weight is not finite.
    """
    for name, value in options.items():
        if any(isinstance(size, int) and size > LARGEST for size in (value if isinstance(value, list) else [value])):
            raise WeightgenError(f"{table.slot}.{name}={value}: {LARGEST} at most")
    with torch.device("meta"):
        wanted = {name: list(weight.shape) for name, weight in make(table, options).state_dict().items()}
    with safe_open(file, "pt") as held:
        there = {name: held.get_slice(name).get_shape() for name in held.offset_keys()}
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            shapes = f"shape {there.get(name)} and should have {wanted.get(name)}"
            raise WeightgenError(f"{file.name} is not of this {table.slot}: {name} has {shapes}")
    net = make(table, options)
    net.load_state_dict(_finite(file))
    return net


def _finite(file: Path) -> dict[str, Tensor]:
    """Raises WeightgenError if a weight is not a number."""
    tensors = load_file(file)
    for name, weight in tensors.items():
        if not bool(weight.isfinite().all()):
            raise WeightgenError(f"{file.name}: {name} holds values that are not finite; get the folder anew")
    return tensors


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

        description: {"translator", "denoiser", "text_encoder": {"name": short name, **arguments},
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
        """Raises MissingArtifact if `folder` holds no saved generator, WeightgenError if it cannot be made from it.

        What the file names is looked up in closed tables, so it cannot choose which code runs.
        """
        folder = Path(folder)
        if not (folder / "generator.json").exists():
            raise MissingArtifact(
                f"{folder} holds no generator.json: run `make demo`, then load reports/demo/generator"
            )
        content = read_json(folder / "generator.json", "save the generator again")
        try:
            return cls._load(folder, content)
        except WeightgenError as error:
            raise WeightgenError(f"{folder / 'generator.json'}: {error}") from None
        except (AttributeError, KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise WeightgenError(
                f"{folder} holds no generator that this version can make ({type(error).__name__}: {reason})"
            ) from error

    @classmethod
    def _load(cls, folder: Path, content: Mapping[str, Any]) -> "WeightGenerator":
        base = _net(TRANSLATORS, content["translator"], folder / "base.safetensors")
        denoiser = _net(DENOISERS, content["denoiser"], folder / "denoiser.safetensors")
        layout = BlockLayout.from_json(content["layout"])
        normalizer = Normalizer(**_finite(folder / "normalizer.safetensors"))
        sampler = Sampler(make_scheduler(content["prediction"]), steps=content["steps"])
        blocks = BlockGenerator(denoiser.eval(), sampler, layout, normalizer)
        return cls(base, LoraSpec(**content["lora"]), blocks, make(TEXT_ENCODERS, content["text_encoder"]))

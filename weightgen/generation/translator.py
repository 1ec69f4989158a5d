"""A translator for one prompt: pictures in, pictures out; and its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightgen.errors import MissingArtifact
from weightgen.files import load_tensors, read_json, replacing_folder, save_tensors, write_json
from weightgen.generation.pictures.any_size import translate_any_size
from weightgen.generation.pictures.images import accepted, each_accepted
from weightgen.generation.saved import load_net, loading
from weightgen.text.encoders import TextFeatures
from weightgen.translation.lora import merge_lora
from weightgen.translation.nets import TRANSLATORS

FILE = "translator.json"
PROMPT = "prompt.safetensors"  # tokens and text_mask, beside an adapter
REMEDY = "make it again with `weightgen generate`"


@dataclass
class Translator:
    """`translator(images)`. model: the network with its LoRA, or with weights of its own; text: of its prompt (B = 1);
    description: {"name", ...} of the network, from which `load` makes it again; base: sha256 of the base's weights."""

    model: nn.Module
    text: TextFeatures
    description: Mapping[str, Any]
    prompt: str = ""
    base: str = ""

    def __call__(self, images: Any) -> Any:
        """Pictures of any size -> of the same size and kind; `weightgen.generation.pictures.images` says what is taken.

        A list may mix sizes and kinds; those of one size are translated together. DataError: what cannot be taken.
        """
        if not isinstance(images, list | tuple):
            pictures, back = accepted(images)
            return back(self.translate(pictures))
        pictures, backs = each_accepted(images)
        done: dict[int, Tensor] = {}
        for size in {one.shape[2:] for one in pictures}:
            rows = [i for i, one in enumerate(pictures) if one.shape[2:] == size]
            counts = [len(pictures[i]) for i in rows]
            outputs = self.translate(torch.cat([pictures[i] for i in rows]))
            done |= dict(zip(rows, outputs.split(counts), strict=True))
        return [back(done[i]) for i, back in enumerate(backs)]

    def translate(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) of any size -> the same shape."""
        return translate_any_size(self.model, images, self.text.tokens, self.text.mask)

    def to(self, device: torch.device | str) -> Translator:
        """Itself, on `device`."""
        self.model.to(device)
        return self

    def merged(self) -> nn.Module:
        """A new network that draws what this one draws, the LoRA within its weights."""
        return merge_lora(self.model)

    def plain(self) -> Translator:
        """The same with the LoRA within its weights, laid out as a CPU likes them: about a quarter faster."""
        model = self.merged().eval().requires_grad_(False).to(memory_format=torch.channels_last)
        return Translator(model, self.text, self.description, self.prompt, self.base)

    def save(self, folder: Path | str) -> None:
        """A folder that `load` needs nothing else for, not even the text encoder; one that is there is replaced whole."""
        with replacing_folder(folder) as aside:
            self.write(aside)

    def write(self, folder: Path) -> None:
        """translator.json, weights.safetensors (a LoRA merged) and text.safetensors."""
        text = {"tokens": self.text.tokens, "mask": self.text.mask, "pooled": self.text.pooled}
        save_tensors(folder / "weights.safetensors", self.merged().state_dict())
        save_tensors(folder / "text.safetensors", text)
        write_json(folder / FILE, {"translator": dict(self.description), "prompt": self.prompt, "base": self.base})

    @classmethod
    def load(cls, folder: Path | str) -> Translator:
        """Raises MissingArtifact if `folder` holds no saved translator, WeightgenError if none can be made from it."""
        folder = Path(folder)
        if not (folder / FILE).exists():
            raise MissingArtifact(f"{folder} holds no {FILE}: {REMEDY}")
        content = read_json(folder / FILE, REMEDY)
        with loading(folder, FILE, "translator"):
            model = load_net(TRANSLATORS, content["translator"], folder / "weights.safetensors")
            text = TextFeatures(**load_tensors(folder / "text.safetensors"))
            return cls(model.eval(), text, content["translator"], str(content["prompt"]), str(content["base"]))

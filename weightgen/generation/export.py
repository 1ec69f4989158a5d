"""Translators for other programs: a peft adapter, plain weights, ONNX. Each is read back and compared with our pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from weightgen.errors import DataError, WeightgenError
from weightgen.extras import optional
from weightgen.files import replacing_folder, save_tensors, write_json, write_text
from weightgen.generation.translator import PROMPT, Translator
from weightgen.rng import stream
from weightgen.translation.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from weightgen.translation.lora import ADAPTER, adapter_factors, lora_modules
from weightgen.translation.pictures import to_bytes, to_signed

Export = Callable[[Translator, Path], float]
SIZES = ((64, 64), (96, 128), (48, 80))  # of the pictures that an export is compared on
HOW = """\
A LoRA of {prompt!r} in peft's format, for the base translator with the weights' sha256 {base}.

    from peft import PeftModel
    from safetensors.torch import load_file
    from weightgen.generation.generator import WeightGenerator

    base = WeightGenerator.load().base  # or any module of that network with those weights
    model = PeftModel.from_pretrained(base, "<this folder>").eval()
    prompt = load_file("<this folder>/prompt.safetensors")
    out = model(images, prompt["tokens"], prompt["text_mask"])  # (1, 3, H, W) in [-1, 1]; sides divide by {multiple}
"""


def to_peft(translator: Translator, folder: Path) -> float:
    """adapter_config.json, adapter_model.safetensors, and the prompt's features. Raises DataError for a translator without
    a LoRA. -> largest difference of the pictures, of 255."""
    layers = lora_modules(translator.model)
    if not layers:
        raise DataError("this translator has weights of its own and no LoRA: export it as merged or onnx")
    ranks = {name: layer.r[ADAPTER] for name, layer in layers.items()}
    config = {
        "peft_type": "LORA",
        "r": 1,
        "lora_alpha": 1,
        "target_modules": list(ranks),
        "rank_pattern": {f"^{name}$": rank for name, rank in ranks.items()},
        "alpha_pattern": {f"^{name}$": layer.lora_alpha[ADAPTER] for name, layer in layers.items()},
        "inference_mode": True,
        "bias": "none",
    }
    with replacing_folder(folder) as aside:
        write_json(aside / ADAPTER_CONFIG, config)
        save_tensors(
            aside / ADAPTER_WEIGHTS,
            adapter_factors(translator.model),
            {"base": translator.base, "prompt": translator.prompt},
        )
        save_tensors(aside / PROMPT, {"tokens": translator.text.tokens, "text_mask": translator.text.mask})
        told = {"prompt": translator.prompt, "base": translator.base, "multiple": translator.model.multiple}
        write_text(aside / "README.md", HOW.format(**told))
        return compared(translator, peft_model(base_of(translator), aside))


def peft_model(base: nn.Module, folder: Path) -> nn.Module:
    """`base` with an adapter folder, by peft alone."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, str(folder)).eval()


def base_of(translator: Translator) -> nn.Module:
    """The base of a translator with a LoRA, without it."""
    model = copy.deepcopy(translator.model)
    for name, layer in lora_modules(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config  # of which peft would say that there is one already
    return model


def to_merged(translator: Translator, folder: Path) -> float:
    """The translator's own folder (weights.safetensors, plain). -> largest difference of the pictures, of 255."""
    with replacing_folder(folder) as aside:
        translator.write(aside)
        return compared(translator, Translator.load(aside).model)


class Baked(nn.Module):
    """A translator with its prompt within: (N, 3, H, W) in [-1, 1] -> the same."""

    def __init__(self, model: nn.Module, tokens: Tensor, text_mask: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("tokens", tokens)
        self.register_buffer("text_mask", text_mask)

    def forward(self, images: Tensor) -> Tensor:
        count = images.shape[0]
        return self.model(images, self.tokens.expand(count, -1, -1), self.text_mask.expand(count, -1))


def to_onnx(translator: Translator, folder: Path) -> float:
    """model.onnx: input `images` (N, 3, H, W) in [-1, 1], any N, sides that divide by the network's `multiple`; output
    `out`, the same. -> largest difference of the pictures, of 255."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        optional(package, "onnx", "the export to ONNX")
    import onnxruntime

    model = translator.merged()
    baked = Baked(model, translator.text.tokens, translator.text.mask).eval()
    multiple = model.multiple
    sides = [multiple * torch.export.Dim(name, min=2, max=2**12) for name in ("rows", "columns")]
    shapes = ({0: torch.export.Dim("batch", min=1, max=2**12), 2: sides[0], 3: sides[1]},)
    with replacing_folder(folder) as aside:
        file = aside / "model.onnx"
        program = torch.onnx.export(
            baked,
            (torch.zeros(2, 3, 16 * multiple, 24 * multiple),),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["images"],
            output_names=["out"],
            verbose=False,
        )
        program.save(str(file), external_data=False)
        write_json(aside / "model.json", {"prompt": translator.prompt, "multiple": multiple, "range": [-1, 1]})
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return compared(translator, lambda x, *_: torch.from_numpy(session.run(None, {"images": x.numpy()})[0]))


@torch.no_grad()
def compared(translator: Translator, other: Callable[..., Tensor]) -> float:
    """The largest difference of two networks' pictures, of 255, at several sizes and counts. Raises WeightgenError where it
    is above 1: then the export is not what was asked for."""
    largest, own = 0.0, translator.model
    for count, (height, width) in zip((1, 2, 3), SIZES, strict=True):
        noise = stream(0, "export/pictures", count)
        images = to_signed(torch.randint(0, 256, (count, 3, height, width), generator=noise, dtype=torch.uint8))
        text = translator.text.tokens.expand(count, -1, -1), translator.text.mask.expand(count, -1)
        ours, theirs = (to_bytes(net(images, *text)).float() for net in (own, other))
        largest = max(largest, float((ours - theirs).abs().max()))
    if largest > 1:
        raise WeightgenError(
            f"the export differs from this program's pictures by {largest:.0f} of 255: nothing was kept"
        )
    return largest


EXPORTS: dict[str, Export] = {"peft": to_peft, "merged": to_merged, "onnx": to_onnx}

"""A LoRA as peft's adapter folder. Read without peft's own loader, which may import what a configuration names."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from weightgen.errors import MissingArtifact, WeightgenError
from weightgen.files import load_tensors, read_json
from weightgen.translation.lora import ADAPTER, adapter_factors, lora_modules

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # as peft names them
PREFIX = "base_model.model."
SAME = 2e-3  # of a factor A's largest weight: what half precision may move it by
OTHER_KINDS = ("use_dora", "bias", "modules_to_save", "layer_replication", "alora_invocation_tokens")


@dataclass(frozen=True)
class Adapter:
    """factors: as `adapter_factors` names them, float32; scaling: layer -> what its B A is multiplied by; base: sha256 of
    the base's weights, "" where the folder does not say; prompt: the same."""

    factors: Mapping[str, Tensor]
    scaling: Mapping[str, float]
    base: str
    prompt: str

    def ranks(self) -> dict[str, int]:
        """Layer -> rank."""
        return {layer: len(self.factors[f"{PREFIX}{layer}.lora_A.weight"]) for layer in self.scaling}


def read_adapter(folder: Path) -> Adapter:
    """Raises MissingArtifact where there is none, WeightgenError where it is no plain LoRA or a weight is not finite."""
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise MissingArtifact(f"{folder} holds no {ADAPTER_WEIGHTS}: run `weightgen export --format peft`")
    config, factors = read_json(folder / ADAPTER_CONFIG, "write the adapter again"), load_tensors(file)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise WeightgenError(f"{folder / ADAPTER_CONFIG} is of no LoRA: peft_type must be LORA")
    if odd := [name for name in OTHER_KINDS if config.get(name) not in (None, False, [], {}, "none")]:
        raise WeightgenError(f"{folder / ADAPTER_CONFIG}: {odd[0]} makes it more than a LoRA; train it without")
    with safe_open(file, "pt") as held:
        told = held.metadata() or {}
    suffix = ".lora_A.weight"
    layers = [name[len(PREFIX) : -len(suffix)] for name in sorted(factors) if name.endswith(suffix)]
    scaling = {layer: _scaling(config, layer, len(factors[f"{PREFIX}{layer}{suffix}"])) for layer in layers}
    return Adapter(factors, scaling, told.get("base", ""), told.get("prompt", ""))


def _scaling(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / rank, or alpha / sqrt(rank) with use_rslora; alpha_pattern goes before lora_alpha, as in peft."""
    patterns = config.get("alpha_pattern") or {}
    found = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer))
    alpha = next(found, config.get("lora_alpha", 8))
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


@torch.no_grad()
def load_adapter(model: nn.Module, adapter: Adapter, one_start: bool = False) -> nn.Module:
    """Copy an adapter's factors into a model of `inject_lora`, in place; B takes up a scaling other than the model's.

    one_start: a factor that the model does not train must be the model's, since it is the same for all concepts. Raises
    WeightgenError where it is not, and where layers or ranks are not the model's.
    """
    factors, layers = adapter_factors(model), lora_modules(model)
    if {name: weight.shape for name, weight in factors.items()} != {n: w.shape for n, w in adapter.factors.items()}:
        raise WeightgenError(f"its factors are not those of this LoRA: {_difference(model, adapter)}")
    for name, weight in factors.items():
        given, layer = adapter.factors[name], name[len(PREFIX) :].rsplit(".lora_", 1)[0]
        if name.endswith(".lora_B.weight"):
            given = given * (adapter.scaling[layer] / layers[layer].scaling[ADAPTER])
        elif one_start and not weight.requires_grad and (given - weight).abs().max() > SAME * weight.abs().max():
            raise WeightgenError(
                f"A of {layer} is not what lora.seed draws, and with lora.train=b all LoRAs share it: use lora.train=ab, or "
                "the seed that they were trained from"
            )
        weight.copy_(given)
    return model


def _difference(model: nn.Module, adapter: Adapter) -> str:
    """What `lora` should be, where ranks alone differ."""
    ours, theirs = {name: layer.r[ADAPTER] for name, layer in lora_modules(model).items()}, adapter.ranks()
    layers = {kind: [name.removesuffix(".base_layer") for name in names] for kind, names in model.lora_layers().items()}
    wanted, given = (
        {kind: {ranks[name] for name in names if name in ranks} for kind, names in layers.items()}
        for ranks in (theirs, ours)
    )
    if wanted == given or any(len(ranks) > 1 for ranks in wanted.values()):
        odd = sorted(adapter_factors(model).keys() ^ adapter.factors.keys())
        return f"{odd[0]} is in one of them alone" if odd else "shapes differ, so they are of another base"
    told = ",".join(f"{kind}:{rank}" for kind, ranks in wanted.items() for rank in ranks)
    return f"set lora.ranks={{{told}}}"

"""LoRA on a translator through peft: inject, read, load, merge. Factors A (down) and B (up) per layer."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from weightgen.errors import WeightgenError
from weightgen.rng import drawing_from

ADAPTER = "concept"


@dataclass(frozen=True)
class LoraSpec:
    """Ranks per layer kind (see `lora_layers`), 0 leaving a kind without adapter.

    train: "ab" trains both factors, "b" leaves A at the shared seed. Every concept starts from the same
    `seed`, since A.B factors are not unique and the denoiser needs comparable targets; seeds="own"
    gives that up, to measure what it is worth. The update is (alpha / rank) * B A.
    """

    ranks: Mapping[str, int] = field(default_factory=lambda: {"down": 4, "transformer": 4, "up": 4, "out": 3})
    alpha: float = 4.0
    train: str = "ab"
    seed: int = 0
    seeds: str = "shared"

    def __post_init__(self) -> None:
        if self.train not in ("ab", "b"):
            raise WeightgenError(f"lora.train={self.train!r} is unknown: use 'ab' or 'b'")
        if self.seeds not in ("shared", "own"):
            raise WeightgenError(f"lora.seeds={self.seeds!r} is unknown: use 'shared' or 'own'")
        if self.seeds == "own" and self.train == "b":
            raise WeightgenError(
                "lora.seeds=own wants lora.train=ab: with train=b the weights hold B alone, which means "
                "nothing beside the A of another seed"
            )

    def starting(self, prompt: str) -> "LoraSpec":
        """The spec that the concept of `prompt` trains from: itself, or with seeds="own" at a seed of the prompt's own."""
        if self.seeds == "shared":
            return self
        digest = hashlib.sha256(f"{self.seed}/{prompt}".encode()).digest()  # equal on every machine
        return replace(self, seed=int.from_bytes(digest[:4], "big"))


def inject_lora(generator: nn.Module, spec: LoraSpec) -> nn.Module:
    """A copy of `generator`, frozen, with adapters at B = 0 (starts as the base), trained factors free.

    Raises WeightgenError if `spec.ranks` names a kind that the generator does not have.
    """
    kinds = generator.lora_layers()
    if unknown := set(spec.ranks) - set(kinds):
        raise WeightgenError(f"lora.ranks names {sorted(unknown)}; this translator has {sorted(kinds)}")
    ranks = {name: spec.ranks.get(kind, 0) for kind, names in kinds.items() for name in names}
    ranks = {name: rank for name, rank in ranks.items() if rank}
    if not ranks:
        raise WeightgenError(f"lora.ranks={dict(spec.ranks)} adapts no layer: give a rank to some of {sorted(kinds)}")
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=list(ranks),
        rank_pattern={f"^{name}$": rank for name, rank in ranks.items()},
        alpha_pattern={f"^{name}$": spec.alpha for name in ranks},
    )
    model = copy.deepcopy(generator).requires_grad_(False)
    with drawing_from(spec.seed, "lora/start"):  # peft draws A from the global generator
        model = inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    for layer in lora_modules(model).values():
        layer.lora_A[ADAPTER].weight.requires_grad_(spec.train == "ab")
        layer.lora_B[ADAPTER].weight.requires_grad_(True)
    return model


def lora_modules(model: nn.Module) -> dict[str, LoraLayer]:
    """Layer name -> its peft LoRA layer, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def adapter_factors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Both factors of every layer, trained or not, by the names that peft's adapter files have."""
    factors = {name: weight for name, weight in model.named_parameters() if f".{ADAPTER}." in name}
    return {f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": weight for name, weight in factors.items()}


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable ones of "<layer>.A" (r, in[, k, k]) and "<layer>.B" (out, r[, 1, 1])."""
    factors = {}
    for name, layer in lora_modules(model).items():
        factors[f"{name}.A"] = layer.lora_A[ADAPTER].weight
        factors[f"{name}.B"] = layer.lora_B[ADAPTER].weight
    return {name: weight for name, weight in factors.items() if weight.requires_grad}


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """A detached float32 CPU copy of the trainable factors."""
    return {name: p.detach().float().cpu().clone() for name, p in lora_parameters(model).items()}


def load_lora_state(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Copy `state` into `model` in place and return it.

    Raises WeightgenError naming the first difference if names or shapes are those of another base.
    """
    parameters = lora_parameters(model)
    if parameters.keys() != state.keys():
        odd = sorted(parameters.keys() ^ state.keys())[0]
        raise WeightgenError(f"this LoRA belongs to another base or lora config: factor {odd!r} does not match")
    for name, parameter in parameters.items():
        if parameter.shape != state[name].shape:
            raise WeightgenError(
                f"this LoRA belongs to another base or lora config: {name!r} is "
                f"{tuple(state[name].shape)}, the model wants {tuple(parameter.shape)}"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """A plain translator with W + (alpha / r) B A in place of every adapted layer, all weights trainable."""
    model = copy.deepcopy(model)
    for name, layer in lora_modules(model).items():
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    return model.requires_grad_(True)

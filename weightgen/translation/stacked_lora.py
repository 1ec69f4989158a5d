"""One frozen base, many LoRAs at once: the base runs dense over all images, the low-rank paths per concept."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from weightgen.translation.lora import ADAPTER, LoraSpec, inject_lora, lora_modules, lora_parameters

Factors = Mapping[str, Tensor]


class StackedLora(nn.Module):
    """Translates C * B images of C concepts in one pass; equals C separate peft models (to float rounding).

    base: a generator with `lora_layers`; it is copied and frozen. Factors are those of `lora_parameters`, each with a
    leading concept dimension: "<layer>.B" (C, out, r[, 1, 1]) and, under train="ab", "<layer>.A" (C, r, in[, k, k]). Under
    train="b", A is one for all and its path stays a single dense layer.
    """

    def __init__(self, base: nn.Module, spec: LoraSpec) -> None:
        super().__init__()
        model = inject_lora(base, spec)
        self.shapes = {name: tuple(p.shape) for name, p in lora_parameters(model).items()}
        self.scaling: dict[str, float] = {}
        self._factors: Factors = {}
        for number, (name, layer) in enumerate(lora_modules(model).items()):
            self.scaling[name] = layer.scaling[ADAPTER]
            self.register_buffer(f"a{number}", layer.lora_A[ADAPTER].weight.detach().clone(), persistent=False)
            parent, _, child = name.rpartition(".")
            plain = layer.get_base_layer()
            setattr(model.get_submodule(parent), child, plain)
            plain.register_forward_hook(self._hook(name, f"a{number}"))
        self.base = model.requires_grad_(False)

    def _hook(self, name: str, shared: str):
        def add_low_rank(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            b = self.scaling[name] * self._factors[f"{name}.B"]  # scales C * out * r numbers, not the images
            a = self._factors.get(f"{name}.A", getattr(self, shared))
            if not isinstance(layer, nn.Conv2d):
                return output + _linear(inputs[0], a, b)
            # several A are a loop on CPU: as one grouped convolution a training step took 1.15 times as long there
            return output + low_rank_convolution(layer, inputs[0], a, b, grouped=output.device.type != "cpu")

        return add_low_rank

    def forward(self, images: Tensor, tokens: Tensor, text_mask: Tensor, factors: Factors) -> Tensor:
        """images: (C * B, 3, H, W) in [-1, 1], concept-major; tokens: (C * B, L, E) -> (C * B, 3, H, W).

        Raises ValueError if the factors' names are not the model's, or C does not divide the images.
        """
        if factors.keys() != self.shapes.keys():
            raise ValueError(f"factors differ from the model's at {sorted(factors.keys() ^ self.shapes.keys())[0]!r}")
        concepts = len(next(iter(factors.values())))
        if len(images) % concepts:
            raise ValueError(f"{len(images)} images cannot be shared by {concepts} concepts")
        self._factors = factors
        try:
            return self.base(images, tokens, text_mask)
        finally:
            self._factors = {}

    @staticmethod
    def pack(factors: Factors) -> Tensor:
        """Factors of C concepts, in `shapes`' order, as rows (C, P), a copy."""
        return torch.cat([factor.flatten(1) for factor in factors.values()], 1)

    def unpack(self, rows: Tensor) -> dict[str, Tensor]:
        """(C, P) -> factors, views; the inverse of `pack`. Their gradient arrives as one (C, P) tensor."""
        parts = rows.split([math.prod(shape) for shape in self.shapes.values()], 1)
        return {n: p.unflatten(1, s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}

    def zero(self, concepts: int) -> dict[str, Tensor]:
        """Factors of `concepts` untrained LoRAs: A at the shared seed, B = 0."""
        buffers = dict(zip(self.scaling, (getattr(self, f"a{i}") for i in range(len(self.scaling))), strict=True))
        start = {}
        for name, shape in self.shapes.items():
            layer, _, factor = name.rpartition(".")
            one = buffers[layer] if factor == "A" else buffers[layer].new_zeros(shape)
            start[name] = one.expand(concepts, *shape).clone()
        return start


def _linear(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """x: (C * B, T, in); a: (r, in) or (C, r, in); b: (C, out, r) -> (C * B, T, out)."""
    concepts = len(b)
    if a.ndim == 2:
        low = linear(x, a).unflatten(0, (concepts, -1))
    else:
        low = x.unflatten(0, (concepts, -1)) @ a.mT[:, None]
    return (low @ b.mT[:, None]).flatten(0, 1)


def low_rank_convolution(layer: nn.Conv2d, x: Tensor, a: Tensor, b: Tensor, grouped: bool) -> Tensor:
    """x: (C * B, in, H, W); a: (r, in, k, k) or (C, r, in, k, k); b: (C, out, r, 1, 1) -> (C * B, out, H', W').

    grouped: whether the convolutions of several A are one grouped convolution, or a loop; the result is the same.
    """
    concepts, how = len(b), (None, layer.stride, layer.padding, layer.dilation)
    if a.ndim == 4:
        low = conv2d(x, a, *how).unflatten(0, (concepts, -1))
    elif grouped:  # (C, B, in, ...) -> (B, C * in, ...): one group per concept
        side = x.unflatten(0, (concepts, -1)).transpose(0, 1).flatten(1, 2)
        low = conv2d(side, a.flatten(0, 1), *how, concepts).unflatten(1, (concepts, -1)).transpose(0, 1)
    else:
        each = zip(x.unflatten(0, (concepts, -1)), a, strict=True)
        low = torch.stack([conv2d(images, one, *how) for images, one in each])
    mixed = torch.matmul(b.flatten(2)[:, None], low.flatten(3))  # (C, 1, out, r) @ (C, B, r, H'W')
    return mixed.unflatten(3, low.shape[3:]).flatten(0, 1)

"""Many discriminators of one architecture at once, one per concept, their parameters as rows of one matrix."""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class StackedDiscriminator(nn.Module):
    """Logits of C discriminators, any module of (source, image) that torch.func.vmap takes (group norm, no batch norm);
    equals C separate modules (to float rounding)."""

    def __init__(self, template: nn.Module) -> None:
        super().__init__()
        self.template = copy.deepcopy(template).requires_grad_(False)
        self.shapes = {name: p.shape for name, p in self.template.named_parameters()}

    @staticmethod
    def pack(module: nn.Module) -> Tensor:
        """The parameters of one discriminator as a row (P,), a detached copy."""
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    def forward(self, rows: Tensor, source: Tensor, image: Tensor) -> Tensor:
        """rows: (C, P); source, image: (C, B, 3, H, W) in [-1, 1] -> logits (C, B, 1, h, w)."""
        parts = rows.split([shape.numel() for shape in self.shapes.values()], 1)
        parameters = {n: p.unflatten(1, s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}
        return vmap(lambda p, s, x: functional_call(self.template, p, (s, x)))(parameters, source, image)

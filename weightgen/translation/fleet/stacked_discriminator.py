"""Many PatchGAN discriminators at once, one per concept, their parameters as rows of one matrix."""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import conv2d, group_norm

from weightgen.translation.nets.patchgan import PatchDiscriminator

FORMS = ("grouped", "vmap", "loop")
# of 64 px fleet steps on CPU (C = 2 to 8) the loop took 7 to 9 % less than the others
DEFAULT_FORM = {"cpu": "loop"}


class StackedDiscriminator(nn.Module):
    """Logits of C discriminators of one architecture; equals C separate modules (to float rounding).

    form: "grouped" (one grouped convolution a layer; PatchDiscriminator only), "vmap" (any module of (source,
    image) that torch.func takes), "loop" (one concept after the other), None for the device's default: loop on CPU,
    as measured; elsewhere grouped, or vmap where that does not apply.
    """

    def __init__(self, template: nn.Module, form: str | None = None) -> None:
        super().__init__()
        if form not in (None, *FORMS):
            raise ValueError(f"form={form!r} is unknown: use one of {', '.join(FORMS)}")
        if form == "grouped" and not isinstance(template, PatchDiscriminator):
            raise ValueError(f"grouped wants a PatchDiscriminator, not {type(template).__name__}: use vmap")
        self.form = form
        self.template = copy.deepcopy(template).requires_grad_(False)
        self.shapes = {name: p.shape for name, p in self.template.named_parameters()}

    @staticmethod
    def pack(module: nn.Module) -> Tensor:
        """The parameters of one discriminator as a row (P,), a detached copy."""
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    def unpack(self, rows: Tensor) -> dict[str, Tensor]:
        """(C, P) -> name -> (C, *shape), views."""
        parts = rows.split([shape.numel() for shape in self.shapes.values()], 1)
        return {n: p.unflatten(1, s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}

    def forward(self, rows: Tensor, source: Tensor, image: Tensor) -> Tensor:
        """rows: (C, P); source, image: (C * B, 3, H, W) in [-1, 1], concept-major -> logits (C * B, 1, h, w)."""
        form = self.form or DEFAULT_FORM.get(rows.device.type)
        form = form or ("grouped" if isinstance(self.template, PatchDiscriminator) else "vmap")
        parameters = self.unpack(rows)
        if form == "grouped":
            return self._grouped(parameters, torch.cat([source, image], 1), len(rows))
        source, image = (x.unflatten(0, (len(rows), -1)) for x in (source, image))
        if form == "vmap":
            return vmap(lambda p, s, x: functional_call(self.template, p, (s, x)))(parameters, source, image).flatten(
                0, 1
            )
        singles = ({name: p[c] for name, p in parameters.items()} for c in range(len(rows)))
        each = zip(singles, source, image, strict=True)
        return torch.cat([functional_call(self.template, p, (s, x)) for p, s, x in each])

    def _grouped(self, parameters: dict[str, Tensor], x: Tensor, concepts: int) -> Tensor:
        x = x.unflatten(0, (concepts, -1)).transpose(0, 1).flatten(1, 2)  # (B, C * channels, H, W)
        for name, layer in self.template.net.named_children():
            if isinstance(layer, nn.Conv2d | nn.GroupNorm):
                weight = parameters[f"net.{name}.weight"].flatten(0, 1)
                bias = parameters[f"net.{name}.bias"].flatten()
            if isinstance(layer, nn.Conv2d):
                x = conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, concepts)
            elif isinstance(layer, nn.GroupNorm):
                x = group_norm(x, concepts * layer.num_groups, weight, bias, layer.eps)
            else:
                x = layer(x)
        return x.unflatten(1, (concepts, -1)).transpose(0, 1).flatten(0, 1)

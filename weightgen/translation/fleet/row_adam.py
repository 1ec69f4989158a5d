"""Adam over stacked runs: every row of a (C, P) matrix is a run of its own, with its own step and rate."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from weightgen.errors import WeightgenError


class AdamRows(NamedTuple):
    """weights, and the running means of their gradients and squared gradients: (C, P) each."""

    weights: Tensor
    mean: Tensor
    square: Tensor


class RowAdam:
    """The Adam or AdamW that `factory` makes (torch's formula), applied row by row; it is elementwise, so exact.

    Pure: the update is returned and nothing is overwritten, so that a step that runs out of memory half-way can be
    repeated. Raises WeightgenError if `factory` makes anything else.
    """

    def __init__(self, factory: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
        made = factory([nn.Parameter(torch.zeros(1))])
        options = made.defaults
        if type(made) not in (Adam, AdamW) or options["amsgrad"] or options["maximize"]:
            raise WeightgenError(
                f"a fleet trains with Adam or AdamW (no amsgrad, no maximize), not with {made}: change the "
                "optimizer, or train one concept at a time with fleet.size=1"
            )
        self.lr, self.eps = float(options["lr"]), options["eps"]
        self.beta1, self.beta2 = (float(beta) for beta in options["betas"])
        self.decay = options["weight_decay"]
        self.decoupled = type(made) is AdamW or bool(options.get("decoupled_weight_decay"))

    @staticmethod
    def start(weights: Tensor) -> AdamRows:
        """weights: (C, P) or (P,), the untrained ones."""
        return AdamRows(weights, torch.zeros_like(weights), torch.zeros_like(weights))

    @torch.no_grad()
    def update(self, rows: AdamRows, gradient: Tensor, steps: Sequence[int], rates: Sequence[float]) -> AdamRows:
        """gradient: (C, P). steps: each row's updates so far; rates: each row's factor on the learning rate."""
        weights, mean, square = rows
        sizes = [self.lr * rate / (1 - self.beta1 ** (s + 1)) for s, rate in zip(steps, rates, strict=True)]
        roots = [(1 - self.beta2 ** (step + 1)) ** 0.5 for step in steps]
        keeps = [1 - self.lr * rate * self.decay for rate in rates]
        host = torch.tensor([sizes, roots, keeps], dtype=weights.dtype)  # computed in float64, as torch does
        size, root, keep = to_device(host, weights.device)[..., None]
        if self.decay and self.decoupled:
            weights = weights * keep
        elif self.decay:
            gradient = gradient + self.decay * weights
        mean = torch.lerp(mean, gradient, 1 - self.beta1)
        square = torch.addcmul(square * self.beta2, gradient, gradient, value=1 - self.beta2)
        return AdamRows(weights - size * mean / (square.sqrt() / root + self.eps), mean, square)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A small host tensor on `device`, without waiting for the kernels already queued there."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

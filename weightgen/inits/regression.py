"""Regressions from text to weights: the trivial rivals that do use the prompt (named as future work by Gong et al. 2024).

Both are fitted on train concepts alone, and their freedom is chosen by what their translators draw for validation concepts.
What `fit` returns is small, since either predicts a combination of the zoo's sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightgen.errors import WeightgenError
from weightgen.inits.base import Init, WeightSpace, require_fitted, require_validation
from weightgen.inits.zoo import combine, principal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from weightgen.text.encoders import TextFeatures


class RidgeInit(Init):
    """min |Y - 1 b' - X W|^2 + penalty |W|^2, X the pooled text and Y the weights of train concepts.

    Solved in its dual form, as text and weights both have more dimensions than there are concepts. The
    penalty is the one whose translators are the best on validation concepts, the largest of equals.
    """

    needs = frozenset({"base", "zoo", "validation"})

    def __init__(self, penalties: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000)) -> None:
        if not penalties or min(penalties) <= 0:
            raise WeightgenError(f"init.penalties={list(penalties)}: give one or more, all above 0")
        self.penalties = sorted(map(float, penalties), reverse=True)

    def fit(self, space: WeightSpace, seed: int) -> dict[str, Tensor]:
        """-> centre (E',), smoother (E', N), penalty (1,), validation_error (1,), see `Validation`. `seed` is not used.

        (x - centre) @ smoother are the sets' weights in `combine`. Raises WeightgenError without validation concepts.
        """
        import torch

        validation = require_validation(space)
        centre = space.pooled.double().mean(0)
        inputs = space.pooled.double() - centre
        squares, axes = torch.linalg.eigh(inputs @ inputs.T)
        asked = torch.cat([text.pooled for text in validation.texts]).double() - centre

        def smoother(penalty: float) -> Tensor:
            # prediction - mean = x X' (X X' + penalty)^-1 Y
            return inputs.T @ (axes / (squares.clamp(min=0) + penalty)) @ axes.T

        penalty, error = validation.best(
            self.penalties, lambda penalty: combine(space.blocks, asked @ smoother(penalty))
        )
        return {
            "centre": centre.float(),
            "smoother": smoother(penalty).float().contiguous(),
            "penalty": torch.tensor([penalty]),
            "validation_error": torch.tensor([error]),
        }

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        fitted = require_fitted(space)
        return combine(space.blocks, (text.pooled[0] - fitted["centre"]) @ fitted["smoother"])


class MlpInit(Init):
    """One hidden layer of `width` from pooled text to the zoo's leading principal coefficients.

    Full-batch AdamW on squared weight error for at most `epochs` steps; every `look` steps its translators are judged on
    validation concepts. The net kept is the best there, and training ends after `patience` steps without a better
    one. It starts at the zoo's mean (output layer at 0), so on validation it is never worse than the mean.
    """

    needs = frozenset({"base", "zoo", "validation"})

    def __init__(
        self,
        width: int = 256,
        epochs: int = 1000,
        patience: int = 100,
        look: int = 10,
        components: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 1.0,
    ) -> None:
        if min(width, epochs, patience, look, components) < 1:
            raise WeightgenError("init.width, init.epochs, init.patience, init.look, init.components must be positive")
        self.width, self.epochs, self.patience, self.look, self.components = width, epochs, patience, look, components
        self.lr, self.weight_decay = lr, weight_decay

    def fit(self, space: WeightSpace, seed: int) -> dict[str, Tensor]:
        """-> centre (E',) and scale (1,) of the input, the net's hidden and output weights, mixing (N, C),
        epoch (1,) of the net kept, validation_error (1,), see `Validation`.

        mixing @ outputs weighs the sets in `combine`. Raises WeightgenError without validation concepts.
        """
        import torch

        validation = require_validation(space)
        mixing, deviations = principal(space.blocks, self.components)
        total = deviations.square().sum().sqrt().clamp(min=1e-30)
        # Coordinates along the principal directions, in units of `total`: the mean's error is then about 1.
        targets = (mixing * deviations * max(len(space.blocks) - 1, 1) / total).float()
        mixing = (mixing / deviations * total).float().contiguous()
        centre = space.pooled.mean(0)
        scale = (space.pooled - centre).square().mean().sqrt().clamp(min=1e-6)
        inputs = (space.pooled - centre) / scale
        asked = (torch.cat([text.pooled for text in validation.texts]) - centre) / scale

        net = self._start(inputs.shape[1], targets.shape[1], seed, inputs.device)
        optimizer = torch.optim.AdamW(net.values(), self.lr, weight_decay=self.weight_decay)
        best, kept, kept_epoch = float("inf"), net, 0
        for epoch in range(self.epochs + 1):
            if epoch % self.look == 0 or epoch == self.epochs:
                with torch.no_grad():
                    error = float(validation.error(combine(space.blocks, _apply(net, asked) @ mixing.T)).mean())
                if error < best:
                    best, kept_epoch, kept = error, epoch, {k: v.detach().clone() for k, v in net.items()}
                if epoch == self.epochs or epoch - kept_epoch >= self.patience:
                    break
            optimizer.zero_grad()
            with torch.enable_grad():
                (_apply(net, inputs) - targets).square().sum(1).mean().backward()
            optimizer.step()
        return {
            **kept,
            "centre": centre.clone(),
            "scale": scale[None],
            "mixing": mixing,
            "epoch": torch.tensor([kept_epoch]),
            "validation_error": torch.tensor([best]),
        }

    def _start(self, inputs: int, outputs: int, seed: int, device: torch.device) -> dict[str, Tensor]:
        import torch

        from weightgen.rng import stream

        draw = torch.randn(self.width, inputs, generator=stream(seed, "mlp/start"))
        net = {
            "hidden.weight": draw / inputs**0.5,
            "hidden.bias": torch.zeros(self.width),
            "output.weight": torch.zeros(outputs, self.width),
            "output.bias": torch.zeros(outputs),
        }
        return {name: tensor.to(device).requires_grad_() for name, tensor in net.items()}

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        fitted = require_fitted(space)
        outputs = _apply(fitted, (text.pooled - fitted["centre"]) / fitted["scale"])[0]
        return combine(space.blocks, fitted["mixing"] @ outputs)


def _apply(net: dict[str, Tensor], x: Tensor) -> Tensor:
    """x: (B, E') -> (B, C)."""
    from torch.nn.functional import gelu

    hidden = gelu(x @ net["hidden.weight"].T + net["hidden.bias"])
    return hidden @ net["output.weight"].T + net["output.bias"]

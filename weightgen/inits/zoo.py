"""What a weight generator has to beat: initialisations from the zoo alone (arXiv 2506.07998, 2506.17807).

`NearestKInit`, `PcaGaussianInit` and the regressions of `weightgen.inits.regression` all return affine combinations of train
concepts' sets; what differs is how the weights of the combination are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightgen.errors import WeightgenError
from weightgen.inits.base import Init, WeightSpace, require_fitted, require_validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from weightgen.text.encoders import TextFeatures


def combine(blocks: Tensor, weights: Tensor) -> Tensor:
    """blocks: (N, K, D); weights: (..., N) -> mean + sum_i w_i (blocks_i - mean), (..., K, D)."""
    import torch

    mean = blocks.mean(0)
    return mean + torch.tensordot(weights.to(blocks), blocks - mean, 1)


def principal(blocks: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """The zoo's leading principal components, as combinations of its sets.

    blocks: (N, K, D) -> mixing (N, C), deviations (C,), float64, largest deviation first. C is
    `components`, or the zoo's rank (at most N - 1) where that is smaller. With z ~ N(0, I),
    `combine(blocks, mixing @ z)` has the zoo's mean and its unbiased covariance cut to C components; set i
    has the scores z = (N - 1) * mixing[i].
    """
    import torch

    centred = (blocks - blocks.mean(0)).flatten(1).double()
    # X = U S V', so X X' = U S^2 U': the N x N problem, since N is far below the number of weights.
    squares, axes = torch.linalg.eigh(centred @ centred.T)
    squares, axes = squares.flip(0)[:components], axes.flip(1)[:, :components]
    rank = int((squares > 1e-9 * squares.max().clamp(min=1e-30)).sum())
    freedom = max(len(blocks) - 1, 1)
    return axes[:, :rank] / freedom**0.5, (squares[:rank] / freedom).sqrt()


class MeanInit(Init):
    """The mean of the zoo."""

    needs = frozenset({"base", "zoo"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.blocks.mean(0)


class NearestInit(Init):
    """The set of the train concept whose prompt is nearest (cosine of pooled text features)."""

    needs = frozenset({"base", "zoo"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.blocks[int((space.pooled @ text.pooled[0]).argmax())].clone()


class NearestKInit(Init):
    """Sets of the k nearest train prompts, weighted by softmax(cosine / temperature).

    k and temperature are those of `ks` and `temperatures` whose translators are the best on validation concepts.
    """

    needs = frozenset({"base", "zoo", "validation"})

    def __init__(
        self, ks: Sequence[int] = (1, 2, 3, 5, 10, 20), temperatures: Sequence[float] = (0.03, 0.1, 0.3)
    ) -> None:
        if not ks or not temperatures or min(*ks, *temperatures) <= 0:
            raise WeightgenError(f"init.ks={list(ks)}, init.temperatures={list(temperatures)}: give some, all above 0")
        self.choices = [(k, temperature) for k in ks for temperature in temperatures]

    def fit(self, space: WeightSpace, seed: int) -> dict[str, Tensor]:
        """-> k (1,), temperature (1,), validation_error (1,), see `Validation`. `seed` is not used."""
        import torch

        validation = require_validation(space)
        (k, temperature), error = validation.best(
            self.choices, lambda choice: torch.stack([_softmax(space, text, *choice) for text in validation.texts])
        )
        found = {"k": k, "temperature": temperature, "validation_error": error}
        return {name: torch.tensor([value]) for name, value in found.items()}

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        fitted = require_fitted(space)
        return _softmax(space, text, int(fitted["k"]), float(fitted["temperature"]))


def _softmax(space: WeightSpace, text: TextFeatures, k: int, temperature: float) -> Tensor:
    import torch

    cosine, rows = (space.pooled @ text.pooled[0]).topk(min(k, len(space.blocks)))
    return torch.tensordot((cosine / temperature).softmax(0), space.blocks[rows], 1)


class NoisedNearestInit(Init):
    """The nearest set plus Gaussian noise of `scale` times the zoo's deviation, weight by weight.

    The control for "new" weights: as far from every train set as wished, and knowing nothing more.
    """

    needs = frozenset({"base", "zoo"})

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        import torch

        deviation = space.blocks.std(0, correction=0)  # 0 at padding
        draw = torch.randn(deviation.shape, generator=noise).to(deviation)
        return NearestInit()(space, text, noise) + self.scale * deviation * draw


class PcaGaussianInit(Init):
    """A draw from the Gaussian of the zoo's mean and leading principal components; the prompt is ignored."""

    needs = frozenset({"base", "zoo"})

    def __init__(self, components: int = 32) -> None:
        if components < 1:
            raise WeightgenError(f"init.components={components}: at least 1 is needed")
        self.components = components

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        import torch

        mixing, deviations = principal(space.blocks, self.components)
        draw = torch.randn(len(deviations), generator=noise, dtype=torch.float64)
        return combine(space.blocks, mixing @ draw.to(mixing))

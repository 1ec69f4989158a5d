"""Steps of Adam on a few of the new concept's pairs: what a cheap initialisation that looks at pairs has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightgen.errors import WeightgenError
from weightgen.inits.base import Init, WeightSpace, require_fitted, require_validation
from weightgen.rng import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from weightgen.generation.pairs_loss import Evidence
    from weightgen.text.encoders import TextFeatures


class FewStepsInit(Init):
    """`steps` steps of Adam on the L1 loss of `pairs` of the concept's pairs, from LoRA zero.

    Each step's learning rate is a rate times the loss before it (images in [-1, 1]): far from the concept steps are long,
    near it short, with no gradient more. The rate is that of `rates` whose translators are the best on validation concepts.
    """

    needs = frozenset({"base", "pairs", "validation"})

    def __init__(
        self,
        steps: int = 3,
        pairs: int = 4,
        rates: Sequence[float] = (0.015, 0.03, 0.06, 0.09, 0.13),
        betas: Sequence[float] = (0.9, 0.999),
    ) -> None:
        if steps < 1 or pairs < 1 or not rates or min(rates) <= 0:
            raise WeightgenError(
                f"init.steps={steps}, init.pairs={pairs}, init.rates={list(rates)}: all must be positive"
            )
        self.steps, self.pairs, self.rates, self.betas = steps, pairs, tuple(rates), tuple(betas)

    def fit(self, space: WeightSpace, seed: int) -> dict[str, Tensor]:
        """-> rate (1,), validation_error (1,), see `Validation`. seed: of the starts' noise."""
        import torch

        validation, noise = require_validation(space), stream(seed, "init/tuning")
        starts = [self.start(space, text, noise) for text in validation.texts]
        some = [evidence.first(self.pairs) for evidence in validation.evidence]

        def moved(rate: float) -> Tensor:
            return torch.stack([self.move(*each, rate) for each in zip(starts, some, strict=True)])

        rate, error = validation.best(self.rates, moved)
        return {"rate": torch.tensor([rate]), "validation_error": torch.tensor([error])}

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        rate = float(require_fitted(space)["rate"])
        return self.move(self.start(space, text, noise), space.evidence.first(self.pairs), rate)

    def move(self, start: Tensor, evidence: Evidence, rate: float) -> Tensor:
        """start: (K, D) -> where the steps lead."""
        import torch

        blocks = start.clone()
        # Adam is elementwise: one (K, D) tensor moves as the model's own factors would, padding not at all.
        optimizer = torch.optim.Adam([blocks], betas=self.betas)
        for _ in range(self.steps):
            loss, blocks.grad = evidence.loss_and_gradient(blocks)
            optimizer.param_groups[0]["lr"] = rate * float(loss)
            optimizer.step()
        return blocks.detach()

    def start(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        """(K, D), where the first step starts."""
        return space.zero

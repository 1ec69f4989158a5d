"""Steps of Adam on a few of the new concept's pairs: what a cheap initialisation that looks at pairs has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightgen.errors import WeightgenError
from weightgen.inits.base import Init, WeightSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from weightgen.text.encoders import TextFeatures


class FewStepsInit(Init):
    """`steps` steps of Adam on the L1 loss of `pairs` of the concept's pairs, from LoRA zero.

    Each step's learning rate is `rate` times the loss before it (images in [-1, 1]): far from the concept steps are long,
    near it short, with no gradient more. What a cheap initialisation that looks at pairs has to beat at equal gradients.
    """

    needs = frozenset({"base", "pairs"})

    def __init__(
        self, steps: int = 3, pairs: int = 4, rate: float = 0.06, betas: Sequence[float] = (0.9, 0.999)
    ) -> None:
        if steps < 1 or pairs < 1 or rate <= 0:
            raise WeightgenError(f"init.steps={steps}, init.pairs={pairs} and init.rate={rate}: all must be positive")
        self.steps, self.pairs, self.rate, self.betas = steps, pairs, rate, tuple(betas)

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        import torch

        evidence = space.evidence.first(self.pairs)
        blocks = self.start(space, text, noise).clone()
        # Adam is elementwise: one (K, D) tensor moves as the model's own factors would, padding not at all.
        optimizer = torch.optim.Adam([blocks], betas=self.betas)
        for _ in range(self.steps):
            loss, blocks.grad = evidence.loss_and_gradient(blocks)
            optimizer.param_groups[0]["lr"] = self.rate * float(loss)
            optimizer.step()
        return blocks.detach()

    def start(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        """(K, D), where the first step starts."""
        return space.zero

"""Ours: sets that the weight generator denoises from the prompt, as they are or refined by a few pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightgen.errors import WeightgenError
from weightgen.inits.base import Init, WeightSpace
from weightgen.inits.pairs import FewStepsInit

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from weightgen.text.encoders import TextFeatures


class GeneratedInit(Init):
    """All blocks denoised at once from noise (Gong et al. 2024, inference in Section 4)."""

    needs = frozenset({"base", "generator"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.generator(text, noise)[0]


class ShuffledPromptInit(GeneratedInit):
    """The weight generator told the prompt of another concept: what it scores when the words are wrong.

    A control, no rival: whoever calls it hands it the text of another concept of the same split.
    """

    control = True
    told = "another"


class GibberishPromptInit(GeneratedInit):
    """The weight generator told words that mean nothing: what it makes of no information at all. A control, no rival."""

    control = True
    told = "gibberish"


class TextToWeightsInit(GeneratedInit):
    """The same network, trained as long through the base, from prompt and block index to weights: no noise, no time step.

    A regression of the generator's size, which says whether the diffusion is worth anything.
    """

    prediction = "direct"


class GeneratedBestOfInit(Init):
    """The best of `starts` generated sets, judged by the loss of `pairs` of the concept's pairs."""

    needs = frozenset({"base", "generator", "pairs"})

    def __init__(self, starts: int = 8, pairs: int = 4) -> None:
        if starts < 1 or pairs < 1:
            raise WeightgenError(f"init.starts={starts}, init.pairs={pairs}: both must be positive")
        self.starts, self.pairs = starts, pairs

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        sets = space.generator(text.select([0] * self.starts), noise)
        return sets[int(space.evidence.first(self.pairs).losses(sets).argmin())]


class GeneratedFewStepsInit(FewStepsInit):
    """A few steps of Adam from the generated set: `guided` without its learned steps, and so what those have to beat."""

    needs = frozenset({"base", "generator", "pairs", "validation"})

    def start(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.generator(text, noise)[0]


class GuidedInit(Init):
    """The generated set, refined in `rounds` rounds by the gradient of the L1 loss on `pairs` of the concept's pairs.

    start: "generated", or "zero" for LoRA zero. Its rival at equal gradients is `few_steps`.
    """

    needs = frozenset({"base", "generator", "guide", "pairs"})

    def __init__(self, pairs: int = 4, rounds: int = 3, start: str = "generated") -> None:
        if pairs < 1 or rounds < 1 or start not in ("generated", "zero"):
            raise WeightgenError(
                f"init.pairs={pairs}, init.rounds={rounds}, init.start={start}: pairs and rounds must be positive, "
                "start generated or zero"
            )
        self.pairs, self.rounds, self.start = pairs, rounds, start

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        evidence = space.evidence.first(self.pairs)
        start = space.generator(text, noise) if self.start == "generated" else space.zero[None]
        *_, refined = space.guide.rounds(start, evidence.batch, self.pairs, self.rounds)
        return refined[0]

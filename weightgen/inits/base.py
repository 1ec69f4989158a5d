"""Where a new concept's LoRA weights may start: what every initialisation is, and those that need nothing but the base.

An init sees train concepts alone, through `WeightSpace`, and the new concept as text and, where it says so, as pairs.
What it needs is said once, by `Init.needs`; all else follows from that. Nothing here imports torch until an init is
called, so that what a method needs can be asked at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from weightgen.errors import WeightgenError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from weightgen.generation.block_generator import BlockGenerator
    from weightgen.generation.guided import Guide
    from weightgen.generation.pairs_loss import Evidence
    from weightgen.text.encoders import TextFeatures

GIBBERISH = "asdf qwer"
NEEDS = frozenset({"base", "zoo", "generator", "guide", "pairs", "own", "validation", "scratch"})


@dataclass(frozen=True)
class Validation:
    """Concepts that choose the freedom of an init: neither trained on nor reported.

    texts: of the prompt of each (B = 1); error: a set for each (V, K, D) -> (V,), how far what its translator draws is from
    the concept's own edits on validation photos, the L1 of images in [-1, 1]; evidence: pairs of each, where an init looks
    at pairs.
    """

    texts: Sequence[TextFeatures]
    error: Callable[[Tensor], Tensor]
    evidence: Sequence[Evidence] = ()

    def best(self, candidates: Iterable[Any], sets: Callable[[Any], Tensor]) -> tuple[Any, float]:
        """The candidate with the least mean error, the first of equals, and that error. sets: candidate -> (V, K, D)."""
        errors = [(float(self.error(sets(candidate)).mean()), candidate) for candidate in candidates]
        error, candidate = min(errors, key=lambda pair: pair[0])
        if not math.isfinite(error):
            raise WeightgenError("no value that was tried gives finite pictures on validation concepts")
        return candidate, error


@dataclass(frozen=True)
class WeightSpace:
    """What an init may look at, each where it needs it (named in brackets).

    zero: (K, D), the state at zero LoRA [base].
    blocks: (N, K, D), pooled: (N, E'), the train concepts' sets and the features of their prompts [zoo].
    generator: text -> sets [generator]. guide: what turns gradients into steps [guide].
    evidence: pairs of the new concept [pairs]. own: (K, D), the concept's own trained set [own].
    validation: what chooses its freedom, and fitted, what its `fit` returned [validation].
    """

    zero: Tensor
    blocks: Tensor | None = None
    pooled: Tensor | None = None
    generator: BlockGenerator | None = None
    own: Tensor | None = None
    validation: Validation | None = None
    fitted: Mapping[str, Tensor] | None = None
    evidence: Evidence | None = None
    guide: Guide | None = None


class Init:
    """One initialisation.

    needs: of NEEDS. "base" (LoRA at zero), "zoo" (the train concepts' sets), "generator", "guide" (the trained refiner),
    "pairs" (some of the new concept's), "own" (its trained LoRA), "validation" (a `fit`, which chooses its
    freedom on validation concepts) or "scratch" alone (no LoRA: a net from scratch).
    base: the only base that an init is defined on, "all"; None: any. prediction: of the generator that it wants, in place of
    budget.denoiser.prediction; None: that one. net: the config node of the net that trains from
    scratch. control: no rival, so `methods=all` leaves it out. told: whose text it is given: that of its own concept, of
    another one, or words that mean nothing (GIBBERISH).
    """

    needs: ClassVar[frozenset[str]]
    base: ClassVar[str | None] = None
    prediction: ClassVar[str | None] = None
    net: ClassVar[str] = "scratch"
    control: ClassVar[bool] = False
    told: ClassVar[str] = "own"

    def __init_subclass__(cls) -> None:
        if not cls.needs or cls.needs - NEEDS:
            raise TypeError(f"{cls.__name__}.needs must be some of {sorted(NEEDS)}, not {sorted(cls.needs)}")

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        """text: of one concept (B = 1); noise: the source of all randomness -> blocks (K, D)."""
        raise WeightgenError(f"{type(self).__name__} starts from scratch: it has no LoRA to initialise")

    def fit(self, space: WeightSpace, seed: int) -> dict[str, Tensor]:
        """What `__call__` finds in `space.fitted`; of inits that need "validation"."""
        raise WeightgenError(f"{type(self).__name__} has nothing to fit")

    @classmethod
    def from_scratch(cls) -> bool:
        return "scratch" in cls.needs

    @classmethod
    def rests_on_zoo(cls) -> bool:
        """Whether trained sets of train concepts shape this one."""
        return bool(cls.needs & {"zoo", "generator", "guide"})

    @classmethod
    def has_novelty(cls) -> bool:
        """Whether its weights can be compared with the zoo's: they are a LoRA and not the one at zero."""
        return not cls.from_scratch() and cls.needs != {"base"}

    @classmethod
    def schedule(cls) -> str:
        """Which of the fine-tuning schedules it trains on: scratch, own (it has had its training) or lora."""
        return "scratch" if cls.from_scratch() else "own" if "own" in cls.needs else "lora"


def require_validation(space: WeightSpace) -> Validation:
    """Raises WeightgenError unless there are validation concepts."""
    if space.validation is None or not space.validation.texts:
        raise WeightgenError(
            "this method is tuned on validation concepts and there are none: raise concepts.validation "
            "(or, with concepts=list, give some items `split: validation`)"
        )
    return space.validation


def require_fitted(space: WeightSpace) -> Mapping[str, Tensor]:
    """Raises WeightgenError if `fit` was not run."""
    if space.fitted is None:
        raise WeightgenError("this method is not fitted: pass WeightSpace(fitted=init.fit(space, seed))")
    return space.fitted


class ZeroInit(Init):
    """E2GAN: the base with LoRA at zero (Gong et al. 2024, Section 4)."""

    needs = frozenset({"base"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.zero.clone()


class TextBaseInit(ZeroInit):
    """LoRA at zero on the base that saw ALL train concepts: its cross-attention alone has to generalise."""

    base = "all"


class TrainedInit(Init):
    """The concept's own long-trained LoRA: what the gap is measured to, no rival."""

    needs = frozenset({"base", "own"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.own.clone()

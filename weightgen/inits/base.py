"""Where a new concept's LoRA weights may start: what every initialisation is, and those that need nothing but the base.

An init sees train concepts alone, through `WeightSpace`, and the new concept as text and, where it says so, as pairs.
What it needs is said once, by `Init.needs`; all else follows from that. Nothing here imports torch until an init is
called, so that what a method needs can be asked at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from weightgen.errors import WeightgenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from weightgen.generation.generator import BlockGenerator
    from weightgen.generation.guided import Guide
    from weightgen.generation.pairs_loss import Evidence
    from weightgen.text.encoders import TextFeatures

NEEDS = frozenset({"base", "zoo", "generator", "guide", "pairs", "own", "validation", "scratch"})


@dataclass(frozen=True)
class WeightSpace:
    """What an init may look at, each where it needs it (named in brackets).

    zero: (K, D), the state at zero LoRA [base].
    blocks: (N, K, D), pooled: (N, E'), the train concepts' sets and the features of their prompts [zoo].
    generator: text -> sets [generator]. guide: what turns gradients into steps [guide].
    evidence: pairs of the new concept [pairs]. own: (K, D), the concept's own trained set [own].
    validation_blocks: (V, K, D), validation_pooled: (V, E'), which only choose a regression's freedom, and
    fitted, what its `fit` returned [validation].
    """

    zero: Tensor
    blocks: Tensor | None = None
    pooled: Tensor | None = None
    generator: BlockGenerator | None = None
    own: Tensor | None = None
    validation_blocks: Tensor | None = None
    validation_pooled: Tensor | None = None
    fitted: Mapping[str, Tensor] | None = None
    evidence: Evidence | None = None
    guide: Guide | None = None


class Init:
    """One initialisation.

    needs: of NEEDS. "base" (LoRA at zero), "zoo" (the train concepts' sets), "generator", "guide" (the trained refiner),
    "pairs" (some of the new concept's), "own" (its trained LoRA: the ceiling), "validation" (a `fit` on the zoo, its freedom
    chosen on validation concepts) or "scratch" alone (no LoRA: a net from scratch).
    base: the only base that an init is defined on, "all"; None: any. net: the config node of the net that trains from
    scratch. control: no rival, so `methods=all` leaves it out. shuffled: it is given the text of another concept.
    """

    needs: ClassVar[frozenset[str]]
    base: ClassVar[str | None] = None
    net: ClassVar[str] = "scratch"
    control: ClassVar[bool] = False
    shuffled: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if not cls.needs or cls.needs - NEEDS:
            raise TypeError(f"{cls.__name__}.needs must be some of {sorted(NEEDS)}, not {sorted(cls.needs)}")

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        """text: of one concept (B = 1); noise: the source of all randomness -> blocks (K, D)."""
        raise WeightgenError(f"{type(self).__name__} starts from scratch: it has no LoRA to initialise")

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
        """Which of the fine-tuning schedules it trains on: scratch, ceiling (it has had its training) or lora."""
        return "scratch" if cls.from_scratch() else "ceiling" if "own" in cls.needs else "lora"


class ZeroInit(Init):
    """E2GAN: the base with LoRA at zero (Gong et al. 2024, Section 4)."""

    needs = frozenset({"base"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.zero.clone()


class TextBaseInit(ZeroInit):
    """LoRA at zero on the base that saw ALL train concepts: its cross-attention alone has to generalise."""

    base = "all"


class TrainedInit(Init):
    """The concept's own long-trained LoRA: the ceiling, not a rival."""

    needs = frozenset({"base", "own"})

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.own.clone()

"""Where a new concept's LoRA weights may start: one small class per initialisation.

Every class sees train concepts alone, through `WeightSpace`, and the new concept only as text (and, where it
says so, as pairs). `needs` names the upstream artifact it is built from: "scratch" (none), "base", "blocks",
"denoiser" or "lora"; "validation" adds the validation concepts' own sets to "blocks", "pairs" adds some of
the concept's pairs to "base", "guide" adds them and a trained refiner to "denoiser". Optional class
attributes: `base = "all"` for an init defined by that base alone, `scratch` for the config node of the net
that trains from scratch, `control = True` for what is no rival (`methods=all` leaves it out), `shuffled =
True` to be given the text of another concept. An init with `fit(space, seed) -> dict[str, Tensor]` is fitted
once and then reads `space.fitted`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from weightgen.errors import WeightgenError
from weightgen.generation.generator import BlockGenerator
from weightgen.generation.guided import Guide
from weightgen.generation.pairs_loss import Evidence
from weightgen.text.encoders import TextFeatures


@dataclass(frozen=True)
class WeightSpace:
    """What train concepts offer: blocks (N, K, D), their prompts' pooled features (N, E'), the state at zero
    LoRA (K, D).

    `generator` is there for inits that need the denoiser, `own` (K, D) for the ceiling alone. Validation
    concepts' sets (V, K, D) and features (V, E') only choose a regression's penalty or stop; `fitted` is what
    its `fit` returned. `evidence` holds pairs of the new concept, `guide` what turns their gradients into weights.
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


class LoraInit(Protocol):
    """text of one concept (B = 1), noise source -> blocks (K, D)."""

    needs: ClassVar[str]

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor: ...


class Pix2PixInit:
    """No base, no LoRA: a U-Net from scratch whose every weight trains (PAPER Results, Pix2pix)."""

    needs: ClassVar[str] = "scratch"


class ZeroInit:
    """E2GAN: the base with LoRA at zero."""

    needs: ClassVar[str] = "base"

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.zero.clone()


class MeanInit:
    """The mean of the zoo."""

    needs: ClassVar[str] = "blocks"

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.blocks.mean(0)


class NearestInit:
    """The set of the train concept whose prompt is nearest (cosine of pooled text features)."""

    needs: ClassVar[str] = "blocks"

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.blocks[int((space.pooled @ text.pooled[0]).argmax())].clone()


class GeneratedInit:
    """The weight generator: all blocks denoised at once from noise (PAPER Method 6)."""

    needs: ClassVar[str] = "denoiser"

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.generator(text, noise)[0]


class GuidedInit:
    """The generated set, refined in `rounds` rounds by the gradient of the L1 loss on `pairs` of the concept's pairs.

    start: "generated", or "zero" for LoRA zero. Its rival at equal gradients is `few_steps`.
    """

    needs: ClassVar[str] = "guide"

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
        batch = {"source": evidence.source[None], "target": evidence.target[None]}
        batch |= {"tokens": text.tokens, "text_mask": text.mask}
        *_, refined = space.guide.rounds(start, batch, self.pairs, self.rounds)
        return refined[0]


class TrainedInit:
    """The concept's own long-trained LoRA: the ceiling, not a rival."""

    needs: ClassVar[str] = "lora"

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.own.clone()

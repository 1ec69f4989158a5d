"""What a weight generator has to beat: initialisations that need no denoiser (arXiv 2506.07998, 2506.17807).

`NearestKInit`, `PcaGaussianInit` and the regressions of `weightgen.inits.regression` all return affine
combinations of train concepts' sets; what differs is how the weights of the combination are found.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from weightgen.errors import WeightgenError
from weightgen.inits.base import GeneratedInit, NearestInit, Pix2PixInit, WeightSpace, ZeroInit
from weightgen.text.encoders import TextFeatures


def combine(blocks: Tensor, weights: Tensor) -> Tensor:
    """blocks: (N, K, D); weights: (N,) -> mean + sum_i w_i (blocks_i - mean), (K, D)."""
    mean = blocks.mean(0)
    return mean + torch.tensordot(weights.to(blocks), blocks - mean, 1)


def principal(blocks: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """The zoo's leading principal components, as combinations of its sets.

    blocks: (N, K, D) -> mixing (N, C), deviations (C,), float64, largest deviation first. C is
    `components`, or the zoo's rank (at most N - 1) where that is smaller. With z ~ N(0, I),
    `combine(blocks, mixing @ z)` has the zoo's mean and its unbiased covariance cut to C components; set i
    has the scores z = (N - 1) * mixing[i].
    """
    centred = (blocks - blocks.mean(0)).flatten(1).double()
    # X = U S V', so X X' = U S^2 U': the N x N problem, since N is far below the number of weights.
    squares, axes = torch.linalg.eigh(centred @ centred.T)
    squares, axes = squares.flip(0)[:components], axes.flip(1)[:, :components]
    rank = int((squares > 1e-9 * squares.max().clamp(min=1e-30)).sum())
    freedom = max(len(blocks) - 1, 1)
    return axes[:, :rank] / freedom**0.5, (squares[:rank] / freedom).sqrt()


class NearestKInit:
    """Sets of the k nearest train prompts, weighted by softmax(cosine / temperature)."""

    needs: ClassVar[str] = "blocks"

    def __init__(self, k: int = 5, temperature: float = 0.1) -> None:
        if k < 1 or temperature <= 0:
            raise WeightgenError(f"init.k={k} and init.temperature={temperature}: both must be positive")
        self.k, self.temperature = k, temperature

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        cosine, rows = (space.pooled @ text.pooled[0]).topk(min(self.k, len(space.blocks)))
        return torch.tensordot((cosine / self.temperature).softmax(0), space.blocks[rows], 1)


class NoisedNearestInit:
    """The nearest set plus Gaussian noise of `scale` times the zoo's deviation, weight by weight.

    The control for "new" weights: as far from every train set as wished, and knowing nothing more.
    """

    needs: ClassVar[str] = "blocks"

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        deviation = space.blocks.std(0, correction=0)  # 0 at padding
        draw = torch.randn(deviation.shape, generator=noise).to(deviation)
        return NearestInit()(space, text, noise) + self.scale * deviation * draw


class PcaGaussianInit:
    """A draw from the Gaussian of the zoo's mean and leading principal components; the prompt is ignored."""

    needs: ClassVar[str] = "blocks"

    def __init__(self, components: int = 32) -> None:
        if components < 1:
            raise WeightgenError(f"init.components={components}: at least 1 is needed")
        self.components = components

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        mixing, deviations = principal(space.blocks, self.components)
        draw = torch.randn(len(deviations), generator=noise, dtype=torch.float64)
        return combine(space.blocks, mixing @ draw.to(mixing))


class FewStepsInit:
    """`steps` steps of Adam on the L1 loss of `pairs` of the concept's pairs, from LoRA zero.

    Each step's learning rate is `rate` times the loss before it (images in [-1, 1]): far from the concept steps are long,
    near it short, with no gradient more. What a cheap initialisation that looks at pairs has to beat at equal gradients.
    """

    needs: ClassVar[str] = "pairs"

    def __init__(
        self, steps: int = 3, pairs: int = 4, rate: float = 0.06, betas: Sequence[float] = (0.9, 0.999)
    ) -> None:
        if steps < 1 or pairs < 1 or rate <= 0:
            raise WeightgenError(f"init.steps={steps}, init.pairs={pairs} and init.rate={rate}: all must be positive")
        self.steps, self.pairs, self.rate, self.betas = steps, pairs, rate, tuple(betas)

    def __call__(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
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


class GeneratedFewStepsInit(FewStepsInit):
    """The same from the generated set: `guided` without its learned steps, and so what those have to beat."""

    needs: ClassVar[str] = "generator_and_pairs"

    def start(self, space: WeightSpace, text: TextFeatures, noise: torch.Generator) -> Tensor:
        return space.generator(text, noise)[0]


class TextBaseInit(ZeroInit):
    """LoRA at zero on the base that saw ALL train concepts: its cross-attention alone has to generalise."""

    base: ClassVar[str] = "all"


class Pix2PixZeroDistilledInit(Pix2PixInit):
    """A Co-Mod-GAN from scratch on the editor's pairs (PAPER Results, Pix2pix-zero-distilled)."""

    scratch: ClassVar[str] = "distilled"


class ShuffledPromptInit(GeneratedInit):
    """The weight generator told the prompt of another concept: what it scores when the words are wrong.

    A control, no rival: whoever calls it hands it the text of another concept of the same split.
    """

    control: ClassVar[bool] = True
    shuffled: ClassVar[bool] = True

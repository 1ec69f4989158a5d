"""Training batches as a function of (seed, step): training resumes bit for bit at any step."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from weightgen.errors import WeightgenError
from weightgen.rng import stream

Batch = dict[str, Tensor]


class Batches(IterableDataset):
    """Batches `start` .. `steps` - 1, endless without `steps`. Batch s is draw(s), whatever came before it."""

    def __init__(self, draw: Callable[[int], Batch], steps: int | None = None, start: int = 0) -> None:
        self.batch, self.steps, self.start = draw, steps, start

    def __iter__(self) -> Iterator[Batch]:
        step = self.start
        while self.steps is None or step < self.steps:
            yield self.batch(step)
            step += 1


@dataclass(frozen=True)
class Texts:
    """What concepts are called. tokens: (M, L, E); mask: (M, L) bool; rows[c]: those of the M texts that describe concept c,
    its prompt and paraphrases."""

    tokens: Tensor
    mask: Tensor
    rows: Sequence[Sequence[int]]

    def drawn(self, concepts: Sequence[int], noise: torch.Generator) -> Batch:
        """One text of each concept, any of its own: tokens (n, L, E), text_mask (n, L)."""
        return self.taken(self.draw_rows(concepts, noise))

    def taken(self, rows: Sequence[int]) -> Batch:
        """tokens (n, L, E), text_mask (n, L) of these texts."""
        return {"tokens": self.tokens[rows], "text_mask": self.mask[rows]}

    def draw_rows(self, concepts: Sequence[int], noise: torch.Generator) -> list[int]:
        """The number, below M, of one text of each concept."""
        draws = torch.rand(len(concepts), generator=noise).tolist()
        return [self.rows[c][int(u * len(self.rows[c]))] for c, u in zip(concepts, draws, strict=True)]


class Pairs:
    """Photos and their edits in memory, by concept.

    sources: uint8 (N, 3, H, W), shared by all concepts, or each concept's own (N_c, 3, H, W); targets[c]: the same photos
    edited by concept c.
    """

    def __init__(self, sources: Tensor | Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        self.sources = [sources] * len(targets) if isinstance(sources, Tensor) else list(sources)
        self.targets = targets

    @property
    def counts(self) -> list[int]:
        """How many pairs each concept has."""
        return [len(photos) for photos in self.sources]

    def taken(self, concepts: Sequence[int], photos: Sequence[int | Tensor]) -> Batch:
        """Photo (or photos) photos[i] of concept concepts[i]: source, target uint8 (n, ..., 3, H, W)."""
        sides = {"source": self.sources, "target": self.targets}
        return {
            name: torch.stack([side[c][p] for c, p in zip(concepts, photos, strict=True)])
            for name, side in sides.items()
        }


class Shuffled:
    """Numbers 0 .. total - 1, each once an epoch and each epoch in an order of its own; batch s has the next `size` of them,
    and may span two epochs."""

    def __init__(self, total: int, size: int, seed: int) -> None:
        self.total, self.size, self.seed = total, size, seed
        self._epoch: tuple[int, Tensor] | None = None

    def __call__(self, step: int) -> list[int]:
        positions = range(step * self.size, (step + 1) * self.size)
        return [int(self._order(p // self.total)[p % self.total]) for p in positions]

    def _order(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, torch.randperm(self.total, generator=stream(self.seed, "pairs/order", epoch))
        return self._epoch[1]


def text_noise(seed: int, step: int) -> torch.Generator:
    """What a batch of pairs draws its texts from."""
    return stream(seed, "pairs/texts", step)


class PairBatches(Batches):
    """Batches of `size` pairs; each epoch visits each pair of each concept once.

    A batch: source, target uint8 (B, 3, H, W); tokens (B, L, E); text_mask (B, L).
    """

    def __init__(self, pairs: Pairs, texts: Texts, size: int, seed: int = 0, steps: int | None = None) -> None:
        super().__init__(self.draw, steps)
        self.pairs, self.texts, self.seed, self.counts = pairs, texts, seed, pairs.counts
        self.ends = list(accumulate(self.counts))  # pair number -> concept: the first whose pairs end beyond it
        self.order = Shuffled(self.ends[-1], size, seed)

    def numbers(self, step: int) -> tuple[list[int], list[int], list[int]]:
        """Of each of the batch's pairs: the concept, the number of its photo among that concept's, of its text among all."""
        numbers = self.order(step)
        concepts = [bisect_right(self.ends, number) for number in numbers]
        photos = [number - self.ends[c] + self.counts[c] for c, number in zip(concepts, numbers, strict=True)]
        return concepts, photos, self.texts.draw_rows(concepts, text_noise(self.seed, step))

    def draw(self, step: int) -> Batch:
        concepts, photos, texts = self.numbers(step)
        return self.pairs.taken(concepts, photos) | self.texts.taken(texts)


def concept_batches(
    pairs: Pairs, texts: Texts, own: Tensor, concepts: int, photos: int, seed: int = 0, steps: int | None = None
) -> Batches:
    """Batches of `concepts` concepts with `photos` different pairs of each.

    own: (C, K, D), each concept's weights. A batch: source, target uint8 (n, m, 3, H, W); tokens (n, L, E);
    text_mask (n, L); own (n, K, D). Raises WeightgenError if a concept has fewer pairs.
    """
    counts = pairs.counts
    if min(counts) < photos:
        raise WeightgenError(
            f"a batch has {photos} pairs of each concept, and one has {min(counts)}: raise photos.train"
        )

    def draw(step: int) -> Batch:
        chosen = torch.randperm(len(counts), generator=stream(seed, "concepts/choice", step))[:concepts]
        noise = stream(seed, "concepts/photos", step)
        rows = chosen.tolist()
        # without replacement: of a concept's photos in a batch, some guide and others judge
        numbers = [torch.randperm(counts[c], generator=noise)[:photos] for c in rows]
        return (
            pairs.taken(rows, numbers) | texts.drawn(rows, stream(seed, "concepts/texts", step)) | {"own": own[chosen]}
        )

    return Batches(draw, steps)


def at_once(images: Tensor, device: torch.device) -> int:
    """How many of `images`, (N, C, H, W), a net on `device` should be given at once: on a CPU 32 of 64 px, which stay in its
    cache (64 of them take 1.1 times as long, 64 of 128 px 1.5 times), elsewhere 64 of 256 px."""
    pixels = 2**17 if device.type == "cpu" else 2**22
    return max(1, pixels // (images.shape[2] * images.shape[3]))

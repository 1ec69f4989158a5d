"""Pairs of a concept in memory, and training batches drawn from them."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import IterableDataset


class PairBatches(IterableDataset):
    """Endless shuffled batches of (photo, edited photo) pairs, all uint8 in memory.

    Epochs are seeded permutations of all (concept, photo) pairs; batch s is a function of (seed, s) alone, so
    training resumes bit for bit at any step. Yields dicts: source, target uint8 (B, 3, H, W); tokens
    (B, L, E); text_mask (B, L).
    """

    def __init__(
        self,
        sources: Tensor | Sequence[Tensor],
        targets: Sequence[Tensor],
        tokens: Tensor,
        text_mask: Tensor,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        seed: int = 0,
        steps: int | None = None,
        start: int = 0,
    ) -> None:
        """sources: uint8 (N, 3, H, W), the photos that all concepts share, or each concept's own (N_c, 3, H, W);
        targets[c]: the same photos edited by concept c.

        prompts[c] lists the rows of tokens (M, L, E) that describe concept c; one is drawn per sample.
        """
        shared = isinstance(sources, Tensor)
        self.sources = [sources] * len(targets) if shared else list(sources)
        self.targets = targets
        # pair number -> concept: the first whose pairs end beyond it
        self._ends = list(accumulate(map(len, self.sources)))
        self.tokens, self.text_mask, self.prompts = tokens, text_mask, prompts
        self.batch_size, self.seed, self.steps, self.start = batch_size, seed, steps, start
        self._epoch: tuple[int, Tensor] | None = None

    def _order(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            total = self._ends[-1]
            self._epoch = epoch, torch.randperm(total, generator=generator)
        return self._epoch[1]

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of `step`, whatever came before it; it may span two epochs."""
        total = self._ends[-1]
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        pairs = [int(self._order(p // total)[p % total]) for p in positions]
        concepts = [bisect_right(self._ends, pair) for pair in pairs]
        photos = [pair - self._ends[c] + len(self.sources[c]) for c, pair in zip(concepts, pairs, strict=True)]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step + 500_009)
        draws = torch.rand(self.batch_size, generator=generator).tolist()
        texts = [self.prompts[c][int(u * len(self.prompts[c]))] for c, u in zip(concepts, draws, strict=True)]
        return {
            "source": torch.stack([self.sources[c][p] for c, p in zip(concepts, photos, strict=True)]),
            "target": torch.stack([self.targets[c][p] for c, p in zip(concepts, photos, strict=True)]),
            "tokens": self.tokens[texts],
            "text_mask": self.text_mask[texts],
        }

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step = self.start
        while self.steps is None or step < self.steps:
            yield self.batch(step)
            step += 1

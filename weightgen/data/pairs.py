"""Pairs of a concept in memory, and training batches drawn from them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import IterableDataset


class PairBatches(IterableDataset):
    """Endless shuffled batches of (photo, edited photo) pairs, all uint8 in memory; concepts share photos.

    Epochs are seeded permutations of all (concept, photo) pairs; batch s is a function of (seed, s) alone, so
    training resumes bit for bit at any step. Yields dicts: source, target uint8 (B, 3, H, W); tokens
    (B, L, E); text_mask (B, L).
    """

    def __init__(
        self,
        sources: Tensor,
        targets: Sequence[Tensor],
        tokens: Tensor,
        text_mask: Tensor,
        prompts: Sequence[Sequence[int]],
        batch_size: int,
        seed: int = 0,
        steps: int | None = None,
        start: int = 0,
    ) -> None:
        """sources: uint8 (N, 3, H, W); targets[c]: the same photos edited by concept c.

        prompts[c] lists the rows of tokens (M, L, E) that describe concept c; one is drawn per sample.
        """
        self.sources, self.targets = sources, targets
        self.tokens, self.text_mask, self.prompts = tokens, text_mask, prompts
        self.batch_size, self.seed, self.steps, self.start = batch_size, seed, steps, start
        self._epoch: tuple[int, Tensor] | None = None

    def _order(self, epoch: int) -> Tensor:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            total = len(self.sources) * len(self.targets)
            self._epoch = epoch, torch.randperm(total, generator=generator)
        return self._epoch[1]

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of `step`, whatever came before it; it may span two epochs."""
        total = len(self.sources) * len(self.targets)
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        pairs = [int(self._order(p // total)[p % total]) for p in positions]
        photos = [pair % len(self.sources) for pair in pairs]
        concepts = [pair // len(self.sources) for pair in pairs]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step + 500_009)
        draws = torch.rand(self.batch_size, generator=generator).tolist()
        texts = [self.prompts[c][int(u * len(self.prompts[c]))] for c, u in zip(concepts, draws, strict=True)]
        return {
            "source": self.sources[photos],
            "target": torch.stack([self.targets[c][p] for c, p in zip(concepts, photos, strict=True)]),
            "tokens": self.tokens[texts],
            "text_mask": self.text_mask[texts],
        }

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step = self.start
        while self.steps is None or step < self.steps:
            yield self.batch(step)
            step += 1

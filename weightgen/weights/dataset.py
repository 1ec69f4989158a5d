"""Batches of normalised blocks with their block indices and prompts."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import IterableDataset


class ZooBatches(IterableDataset):
    """Endless batches of `concepts` weight sets, `blocks` random blocks of each (0: all, in order).

    Batch s is a function of (seed, s) alone, so training resumes bit for bit at any step. Yields dicts:
    blocks (n, k, D), valid (n, k, D) bool, index (n, k), tokens (n, L, E), text_mask (n, L), concept (n,).
    """

    def __init__(
        self,
        blocks: Tensor,
        valid: Tensor,
        tokens: Tensor,
        text_mask: Tensor,
        prompts: Sequence[Sequence[int]],
        concepts: int,
        blocks_per_concept: int = 0,
        seed: int = 0,
        steps: int | None = None,
        start: int = 0,
    ) -> None:
        """blocks: (N, K, D) normalised; valid: (K, D); tokens: (M, L, E); text_mask: (M, L).

        prompts[i] lists the rows of `tokens` that describe concept i (its prompt and paraphrases); one is
        drawn per sample.
        """
        self.blocks, self.valid = blocks, valid
        self.tokens, self.text_mask, self.prompts = tokens, text_mask, prompts
        self.concepts, self.blocks_per_concept = concepts, blocks_per_concept
        self.seed, self.steps, self.start = seed, steps, start

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of `step`, whatever came before it."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        total, k = self.blocks.shape[:2]
        if self.concepts <= total:
            rows = torch.randperm(total, generator=generator)[: self.concepts]
        else:
            rows = torch.randint(total, (self.concepts,), generator=generator)
        draws = torch.rand(len(rows), generator=generator).tolist()
        texts = torch.tensor(
            [self.prompts[r][int(u * len(self.prompts[r]))] for r, u in zip(rows.tolist(), draws, strict=True)]
        )
        if self.blocks_per_concept and self.blocks_per_concept < k:
            order = torch.rand(len(rows), k, generator=generator).argsort(1)
            index = order[:, : self.blocks_per_concept]
        else:
            index = torch.arange(k).expand(len(rows), k)
        return {
            "blocks": self.blocks[rows[:, None], index],
            "valid": self.valid[index],
            "index": index,
            "tokens": self.tokens[texts],
            "text_mask": self.text_mask[texts],
            "concept": rows,
        }

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step = self.start
        while self.steps is None or step < self.steps:
            yield self.batch(step)
            step += 1

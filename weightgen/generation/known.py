"""Which words a weight generator has learned, and whether a prompt is made of them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SMALL = frozenset(  # words that say nothing of a concept
    ["a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "is", "it", "like", "of", "on", "or", "the", "to"]
)


class UnknownWords(UserWarning):
    """A prompt that is unlike every prompt that the generator was trained on."""


@dataclass(frozen=True)
class Known:
    """prompts: those of the train concepts; pooled: (N, E'), their pooled features, unit rows."""

    prompts: Sequence[str]
    pooled: Tensor

    @property
    def words(self) -> frozenset[str]:
        return frozenset(word for prompt in self.prompts for word in words(prompt))

    @property
    def reach(self) -> float:
        """The least cosine similarity of any train prompt to its nearest other one: below it, a prompt is further from all
        than they are from one another."""
        if len(self.prompts) < 2:
            return 1.0
        similar = self.pooled @ self.pooled.T
        return float((similar - 2 * torch.eye(len(similar))).max(1).values.min())

    def some(self, count: int = 6) -> list[str]:
        """A few of the train prompts, evenly spread over them."""
        return list(self.prompts[:: max(1, len(self.prompts) // count)][:count])

    def nearest(self, pooled: Tensor, count: int = 3) -> list[tuple[str, float]]:
        """pooled: (1, E') -> the train prompts of the highest cosine similarity, and that, highest first."""
        similar = (self.pooled @ pooled[0].cpu()).sort(descending=True, stable=True)
        best = zip(similar.indices[:count].tolist(), similar.values[:count].tolist(), strict=True)
        return [(self.prompts[row], value) for row, value in best]

    def warn_of(self, prompt: str, pooled: Tensor) -> None:
        """One UnknownWords warning for a prompt that holds words of no train prompt, or is beyond `reach` of all."""
        unknown = sorted(words(prompt) - self.words)
        near = self.nearest(pooled)
        if not near or (not unknown and near[0][1] >= self.reach):
            return
        said = f"never saw {', '.join(map(repr, unknown))}" if unknown else "never saw words put so"
        shown = "; ".join(f"{text!r} ({value:.2f})" for text, value in near)
        warnings.warn(
            f"the weight generator {said}, so its weights for {prompt!r} are a guess: give a few example pairs, or "
            f"use words of its own. Nearest of what it knows, by similarity: {shown}",
            UnknownWords,
            stacklevel=3,
        )


def words(prompt: str) -> frozenset[str]:
    """Its words in lower case, without the small ones that say nothing of a concept."""
    return frozenset(re.findall(r"[^\W_]+", prompt.lower())) - SMALL

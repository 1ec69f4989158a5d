"""What a chat model has answered so far: distinct prompts by category, and other ways to say them."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from weightgen.data.concepts.concept import factors_of
from weightgen.text.encoders import TextEncoder


class Pool:
    """Prompts kept: in the order they came, each unlike all before it.

    Two are one if their embeddings' cosine reaches `similarity`, or if they name the same factors of the grammar.
    A category that yields nothing new `patience` times in a row is left.
    """

    def __init__(
        self, encoder: TextEncoder, categories: Sequence[str], similarity: float, count: int, patience: int
    ) -> None:
        self.encoder, self.all_categories = encoder, list(categories)
        self.similarity, self.count, self.patience = similarity, count, patience
        self.prompts: list[str] = []
        self.categories: list[str] = []
        self.vectors = torch.zeros(0, encoder.pooled_dim)
        self.duplicates = self.refused = self.unreadable = 0  # the last in a row
        self._misses: Counter[str] = Counter()
        self._factors: set = set()
        self._met: set[str] = set()

    def live(self) -> list[str]:
        return [name for name in self.all_categories if self._misses[name] < self.patience]

    def next_category(self) -> str | None:
        """The least filled one that still yields; None: the pool is full, or no category does."""
        if len(self.prompts) >= self.count:
            return None
        return min(self.live(), key=self.categories.count, default=None)

    def room(self, category: str) -> int:
        """How many more the least filled category may hold if those that still yield share evenly; at least 1."""
        live = self.live()
        done = sum(name not in live for name in self.categories)
        return max(1, math.ceil((self.count - done) / len(live)) - self.categories.count(category))

    def fruitless(self, category: str) -> None:
        self.unreadable += 1
        self._misses[category] += 1

    def add(self, category: str, candidates: Sequence[str], asked: int, refused: int) -> None:
        """Keep of `candidates` the first `asked` that are new."""
        self.refused += refused
        self.unreadable = 0
        before = len(self.prompts)
        first: dict[str, str] = {}
        for prompt in candidates:
            first.setdefault(prompt.casefold(), prompt)
        fresh = [prompt for key, prompt in first.items() if key not in self._met]
        self.duplicates += len(candidates) - len(fresh)
        for prompt, vector in zip(fresh, self._vectors(fresh), strict=True):
            if len(self.prompts) - before >= min(asked, self.count - before):
                break
            self._met.add(prompt.casefold())
            factors = factors_of(prompt)
            like = self.vectors @ vector
            if factors in self._factors or bool((like >= self.similarity).any()):
                self.duplicates += 1
                continue
            self._factors |= {factors} if factors else set()
            self.prompts.append(prompt)
            self.categories.append(category)
            self.vectors = torch.cat([self.vectors, vector[None]])
        self._misses[category] = 0 if len(self.prompts) > before else self._misses[category] + 1

    def _vectors(self, texts: list[str]) -> Tensor:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of long ones the beginning will do
            return self.encoder.encode(texts).pooled if texts else self.vectors[:0]

    def paraphrases(self, said: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Prompt -> its paraphrases that are nearer to it than to any other prompt, each said once."""
        known = {prompt.casefold() for prompt in self.prompts}
        result: dict[str, list[str]] = {}
        for row, prompt in enumerate(self.prompts):
            ways = [way for way in dict.fromkeys(said.get(prompt, ())) if way.casefold() not in known]
            nearest = (self._vectors(ways) @ self.vectors.T).argmax(1).tolist() if ways else []
            result[prompt] = [way for way, own in zip(ways, nearest, strict=True) if own == row]
            known |= {way.casefold() for way in result[prompt]}
        return result

"""Concepts that the configuration itself lists."""

from collections.abc import Mapping, Sequence

from weightgen.data.concepts.concept import Concept, concepts_of
from weightgen.errors import DataError


class ListConcepts:
    """The user's own prompts: items {prompt, split, name?, paraphrases?}."""

    def __init__(self, items: Sequence[Mapping]) -> None:
        self.items = items

    def load(self) -> list[Concept]:
        """-> concepts in the given order. DataError: an empty list, or see `concepts_of`."""
        if not self.items:
            raise DataError("the list of concepts is empty; give at least one {prompt, split}")
        return concepts_of((f"number {number} of the list", item) for number, item in enumerate(self.items))

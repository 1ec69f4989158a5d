"""Concepts from a chat model (paper, method step 1): asked for by category, made distinct, said in other ways."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.data.concepts.concept import Concept, concepts_of
from weightgen.data.concepts.files import SHARES
from weightgen.data.splits import check_shares, split_prompts
from weightgen.errors import DataError
from weightgen.files import read_json, write_json

if TYPE_CHECKING:
    from weightgen.text.encoders import TextEncoder

VERSION = 1  # of the questions and of what is done with the answers: raise it when either changes
RESULT = "concepts.json"


class LlmConcepts:
    """`count` concepts at most, from any OpenAI-compatible endpoint, fixed once collected.

    categories: seeds of the questions, asked in turn, the least filled first. subject: what the words are about.
    batch: prompts asked for at a time. similarity: cosine of text embeddings from which two prompts are one.
    paraphrases: other ways to say each, as text augmentation; 0: none. collection: another number is another list.
    splits, seed: see `split_prompts`; changing them asks nothing anew. Neither are base_url, api_key_env (the NAME
    of the variable with the key), timeout (s) and retries part of what is collected. encoder: of the embeddings; None:
    MiniLM.
    """

    version = VERSION

    def __init__(
        self,
        model: str,
        categories: Sequence[str],
        count: int = 120,
        subject: str = "a photo",
        batch: int = 20,
        similarity: float = 0.9,
        paraphrases: int = 2,
        collection: int = 0,
        temperature: float | None = None,
        splits: Mapping[str, float] = SHARES,
        seed: int = 0,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 60.0,
        retries: int = 4,
        encoder: "TextEncoder | None" = None,
    ) -> None:
        check_shares(splits)
        categories = list(dict.fromkeys(categories))
        if not categories or count < 1 or batch < 1 or paraphrases < 0 or not 0 < similarity <= 1:
            raise DataError(
                f"concepts=llm: {len(categories)} categories, count={count}, batch={batch}, paraphrases={paraphrases}, "
                f"similarity={similarity}; want a category, counts of 1 or more, a similarity in (0, 1]"
            )
        self.model, self.temperature = model, temperature
        self.categories, self.count, self.subject, self.batch = categories, count, subject, batch
        self.similarity, self.paraphrases, self.collection = similarity, paraphrases, collection
        self.splits, self.seed = dict(splits), seed
        self.base_url, self.api_key_env, self.timeout, self.retries = base_url, api_key_env, timeout, retries
        self.encoder = encoder

    def identity(self) -> dict[str, Any]:
        """What determines the collected list, as far as a chat model's answers are determined."""
        names = ("categories", "count", "subject", "batch", "similarity", "paraphrases", "collection")
        return {name: getattr(self, name) for name in (*names, "model", "temperature")}

    def collect(self, folder: Path) -> dict[str, Any]:
        """Ask until there are `count` concepts or no category yields more -> concepts.json in `folder`; returns counts.

        DataError: see LlmClient.ask; an endpoint that answers nothing readable; too few concepts.
        """
        from weightgen.data.concepts.collecting import Collection  # needs torch, openai and a text encoder

        rows, counts = Collection(self, folder).run()
        write_json(folder / RESULT, rows)
        return counts

    def load(self, folder: Path) -> list[Concept]:
        """The collected list, split; needs no endpoint. DataError: too few for the splits."""
        rows = read_json(folder / RESULT)
        splits = self.split([row["prompt"] for row in rows], [row.pop("category") for row in rows])
        return concepts_of(
            (f"number {number} of {folder / RESULT}", row | {"split": split})
            for number, (row, split) in enumerate(zip(rows, splits, strict=True))
        )

    def split(self, prompts: Sequence[str], categories: Sequence[str]) -> list[str]:
        """Of a few prompts, all that an endpoint gave, none for validation, then none for the other splits."""
        shares = {split: share for split, share in self.splits.items() if share}
        for split in ("validation", "unseen_factor", "unseen_combination"):
            if len(prompts) < len(shares) + 2:
                shares.pop(split, None)
        return split_prompts(prompts, shares, self.seed, categories)

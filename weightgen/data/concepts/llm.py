"""Concepts from a chat model (paper, method step 1): asked for by category, made distinct, said in other ways."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weightgen.data.concepts.files import SHARES
from weightgen.data.concepts.llm_client import LlmClient, Paraphrases, Prompts
from weightgen.data.concepts.pool import Answers, Pool
from weightgen.data.concepts.sources import Concept, check_prompt, concept_of
from weightgen.data.concepts.splits import assign_splits, check_shares
from weightgen.errors import DataError
from weightgen.files import write_json
from weightgen.text.encoders import MiniLMTextEncoder, TextEncoder

VERSION = 1  # of the questions and of what is done with the answers: raise it when either changes
PATIENCE = 2  # fruitless answers after which a category is left
GARBAGE = 4  # questions in a row without a readable answer after which the endpoint is given up
ANSWERS, RESULT = "answers.jsonl", "concepts.json"


class LlmConcepts:
    """`count` concepts at most, from any OpenAI-compatible endpoint, fixed once collected.

    categories: seeds of the questions, asked in turn, the least filled first. subject: what the words are about.
    batch: prompts asked for at a time. similarity: cosine of text embeddings from which two prompts are one.
    paraphrases: other ways to say each, as text augmentation; 0: none. collection: another number is another list.
    splits, seed: see `assign_splits`; changing them asks nothing anew. Neither are base_url, api_key_env (the NAME
    of the variable with the key), timeout (s) and retries part of what is collected.
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
        encoder: TextEncoder | None = None,
    ) -> None:
        check_shares(splits)
        categories = list(dict.fromkeys(categories))
        if not categories or count < 1 or batch < 1 or paraphrases < 0 or not 0 < similarity <= 1:
            raise DataError(
                f"concepts=llm: {len(categories)} categories, count={count}, batch={batch}, paraphrases={paraphrases}, "
                f"similarity={similarity}; want a category, counts of 1 or more, a similarity in (0, 1]"
            )
        self.categories, self.count, self.subject, self.batch = categories, count, subject, batch
        self.similarity, self.paraphrases, self.collection = similarity, paraphrases, collection
        self.splits, self.seed = dict(splits), seed
        self.client = LlmClient(model, base_url, api_key_env, timeout, retries, temperature)
        self.encoder = encoder or MiniLMTextEncoder(max_length=64)

    def identity(self) -> dict[str, Any]:
        """What determines the collected list, as far as a chat model's answers are determined."""
        names = ("categories", "count", "subject", "batch", "similarity", "paraphrases", "collection")
        options = {name: getattr(self, name) for name in names}
        return options | {"model": self.client.model, "temperature": self.client.temperature}

    def collect(self, folder: Path) -> dict[str, Any]:
        """Ask until there are `count` concepts or no category yields more -> concepts.json in `folder`.

        Each good answer is a line of answers.jsonl, so that after a kill only what is missing is asked for. DataError: see
        LlmClient.ask; an endpoint that answers nothing readable. -> counts.
        """
        answers = Answers(folder / ANSWERS)
        pool = Pool(self.encoder, self.categories, self.similarity, self.count, PATIENCE)
        for line in answers.of("prompts"):
            pool.add(line["category"], line["prompts"], line["asked"], line["refused"])
        with tqdm(desc="concepts", total=self.count, initial=len(pool.prompts), disable=None, leave=False) as bar:
            while (category := pool.next_category()) is not None:
                self._ask_prompts(category, pool, answers)
                bar.update(len(pool.prompts) - bar.n)
        try:
            self._split(pool.prompts, pool.categories)
        except DataError:  # too few, and no category yields more: the next run begins anew
            (folder / ANSWERS).unlink()
            raise
        said = {prompt: ways for line in answers.of("paraphrases") for prompt, ways in line["said"].items()}
        self._ask_paraphrases([p for p in pool.prompts if p not in said], said, answers)
        kept = pool.own_ways(said)
        rows = [
            {"prompt": prompt, "category": category, "paraphrases": kept[prompt][: self.paraphrases]}
            for prompt, category in zip(pool.prompts, pool.categories, strict=True)
        ]
        write_json(folder / RESULT, rows)
        return {
            "concepts": len(rows),
            "paraphrases": sum(len(row["paraphrases"]) for row in rows),
            "duplicates": pool.duplicates,
            "refused": pool.refused,
            "questions": self.client.questions,
            "bad_answers": self.client.bad_answers,
        }

    def load(self, folder: Path) -> list[Concept]:
        """The collected list, split; needs no endpoint. DataError: too few for the splits."""
        rows = json.loads((folder / RESULT).read_text())
        prompts, kinds = [row["prompt"] for row in rows], [row["category"] for row in rows]
        splits = self._split(prompts, kinds)
        return [
            concept_of({k: v for k, v in row.items() if k != "category"} | {"split": split}, str(place))
            for place, (row, split) in enumerate(zip(rows, splits, strict=True))
        ]

    def _split(self, prompts: list[str], kinds: list[str]) -> list[str]:
        """Of a few prompts, all that an endpoint gave, none for validation, then none for the other splits."""
        shares = {split: share for split, share in self.splits.items() if share}
        for split in ("validation", "unseen_factor", "unseen_combination"):
            if len(prompts) < len(shares) + 2:
                shares.pop(split, None)
        return assign_splits(prompts, shares, self.seed, kinds)

    def _ask_prompts(self, category: str, pool: Pool, answers: Answers) -> None:
        asked = min(self.batch, pool.room(category))
        known = [p for p, own in zip(pool.prompts, pool.categories, strict=True) if own == category][-40:]
        question = (
            f"Give {asked} short, varied descriptions of how {self.subject} could be changed to look, of the kind: "
            f"{category}. Each names one look in 1 to 8 words, such as 'Watercolor painting' or 'Silver sculpture'; no "
            'explanations, no numbering. Answer with JSON alone: {"prompts": ["...", "..."]}'
        )
        if known:
            question += f". None of these again: {json.dumps(known, ensure_ascii=False)}"
        answer = self.client.ask(question, Prompts)
        if answer is None:
            pool.fruitless(category)
            self._give_up_on_garbage(pool.unreadable)
            return
        good = [prompt.strip() for prompt in answer.prompts if self._usable(prompt)]
        line = {"kind": "prompts", "category": category, "asked": asked, "prompts": good}
        answers.append(line | {"refused": len(answer.prompts) - len(good)})
        pool.add(category, good, asked, len(answer.prompts) - len(good))

    def _usable(self, prompt: str) -> bool:
        """Whether a concept may have it: no blank, no control characters, not endless, and not the key."""
        try:
            check_prompt("answered", prompt.strip())
        except DataError:
            return False
        return not (self.client.key and self.client.key in prompt)

    def _give_up_on_garbage(self, questions: int) -> None:
        if questions >= GARBAGE:
            raise DataError(
                f"concepts=llm: {self.client.model} at {self.client.base_url or 'the OpenAI endpoint'} gave no answer in "
                f"the JSON asked for to {questions} questions in a row (the last: {self.client.last_bad}); set another "
                "concepts.model, or run again: what it did answer is kept"
            )

    def _ask_paraphrases(self, todo: list[str], said: dict[str, list[str]], answers: Answers) -> None:
        if not self.paraphrases:
            return
        for start in range(0, len(todo), self.batch):
            batch = todo[start : start + self.batch]
            answer = self.client.ask(
                f"For each of these descriptions give {self.paraphrases} other ways to say the same in 1 to 8 words. Answer "
                'with JSON alone: {"paraphrases": [{"prompt": "<as given>", "paraphrases": ["...", "..."]}, ...]}. '
                f"The descriptions: {json.dumps(batch, ensure_ascii=False)}",
                Paraphrases,
            )
            ways = {row.prompt: row.paraphrases for row in answer.paraphrases} if answer else {}
            new = {p: [w.strip() for w in ways[p] if self._usable(w)] for p in batch if p in ways}
            if new:
                answers.append({"kind": "paraphrases", "said": new})
                said |= new

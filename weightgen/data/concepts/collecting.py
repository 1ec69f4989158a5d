"""Asking a chat model for concepts, question after question, so that after a kill only what is missing is asked for."""

import json
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weightgen.data.concepts.concept import check_prompt
from weightgen.data.concepts.llm_client import LlmClient, Paraphrases, Prompts
from weightgen.data.concepts.pool import Pool
from weightgen.errors import DataError
from weightgen.network import public_address
from weightgen.text.encoders import MiniLMTextEncoder

log = logging.getLogger(__name__)
PATIENCE = 2  # fruitless answers after which a category is left
GARBAGE = 4  # questions in a row without a readable answer after which the endpoint is given up
REMINDED = 40  # prompts of a category that a question names so that they are not given again
ANSWERS = "answers.jsonl"


class Answers:
    """JSON lines, appended; a line that a kill cut short does not count and is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
        self.lines = [line for line in map(_answer, whole.splitlines()) if line is not None]
        if (damaged := len(whole.splitlines()) - len(self.lines)) > 0:
            log.warning("%s: %d damaged lines are left out, and asked for again", path, damaged)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    def append(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        with self.path.open("a", encoding="ascii") as stream:
            stream.write(json.dumps(line) + "\n")


def _answer(line: bytes) -> dict[str, Any] | None:
    """A line that `Answers` wrote; None for anything else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    needs = {"prompts": {"category", "prompts", "asked", "refused"}, "paraphrases": {"said"}}.get(
        str(found.get("kind"))
    )
    return found if needs is not None and needs <= set(found) else None


class Collection:
    """The list that `source` (LlmConcepts) describes, collected in `folder`: each good answer is a line of answers.jsonl."""

    def __init__(self, source: Any, folder: Path) -> None:
        self.source = source
        self.client = LlmClient(
            source.model, source.base_url, source.api_key_env, source.timeout, source.retries, source.temperature
        )
        self.answers = Answers(folder / ANSWERS)
        encoder = source.encoder or MiniLMTextEncoder(max_length=64)
        self.pool = Pool(encoder, source.categories, source.similarity, source.count, PATIENCE)
        for line in self.answers.of("prompts"):
            self.pool.add(line["category"], line["prompts"], line["asked"], line["refused"])

    def run(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Ask for what is missing -> rows {prompt, category, paraphrases}, and counts."""
        pool, source = self.pool, self.source
        with tqdm(desc="concepts", total=source.count, initial=len(pool.prompts), disable=None, leave=False) as bar:
            while (category := pool.next_category()) is not None:
                self._ask_prompts(category)
                bar.update(len(pool.prompts) - bar.n)
        try:
            source.split(pool.prompts, pool.categories)
        except DataError:  # too few, and no category yields more: the next run begins anew
            self.answers.path.unlink()
            raise
        said = {prompt: ways for line in self.answers.of("paraphrases") for prompt, ways in line["said"].items()}
        self._ask_paraphrases([prompt for prompt in pool.prompts if prompt not in said], said)
        kept = pool.paraphrases(said)
        rows = [
            {"prompt": prompt, "category": category, "paraphrases": kept[prompt][: source.paraphrases]}
            for prompt, category in zip(pool.prompts, pool.categories, strict=True)
        ]
        return rows, {
            "concepts": len(rows),
            "paraphrases": sum(len(row["paraphrases"]) for row in rows),
            "duplicates": pool.duplicates,
            "refused": pool.refused,
            "questions": self.client.questions,
            "bad_answers": self.client.bad_answers,
        }

    def _ask_prompts(self, category: str) -> None:
        pool = self.pool
        asked = min(self.source.batch, pool.room(category))
        known = [p for p, own in zip(pool.prompts, pool.categories, strict=True) if own == category][-REMINDED:]
        question = (
            f"Give {asked} short, varied descriptions of how {self.source.subject} could be changed to look, of the kind: "
            f"{category}. Each names one look in 1 to 8 words, such as 'Watercolor painting' or 'Silver sculpture'; no "
            'explanations, no numbering. Answer with JSON alone: {"prompts": ["...", "..."]}'
        )
        if known:
            question += f". None of these again: {json.dumps(known, ensure_ascii=False)}"
        answer = self.client.ask(question, Prompts)
        if answer is None:
            pool.fruitless(category)
            self._give_up_on_garbage()
            return
        good = [prompt.strip() for prompt in answer.prompts if self._usable(prompt)]
        refused = len(answer.prompts) - len(good)
        self.answers.append(
            {"kind": "prompts", "category": category, "asked": asked, "prompts": good, "refused": refused}
        )
        pool.add(category, good, asked, refused)

    def _usable(self, prompt: str) -> bool:
        """Whether a concept may have it: no blank, no control characters, not endless, and not the key."""
        try:
            check_prompt("answered", prompt.strip())
        except DataError:
            return False
        return not (self.client.key and self.client.key in prompt)

    def _give_up_on_garbage(self) -> None:
        if self.pool.unreadable >= GARBAGE:
            where = public_address(self.client.base_url) if self.client.base_url else "the OpenAI endpoint"
            raise DataError(
                f"concepts=llm: {self.client.model} at {where} gave no answer in the JSON asked for to "
                f"{self.pool.unreadable} questions in a row (the last: {self.client.last_bad}); set another "
                "concepts.model, or run again: what it did answer is kept"
            )

    def _ask_paraphrases(self, prompts: list[str], said: dict[str, list[str]]) -> None:
        """Ask for other ways to say `prompts`, and add them to `said`."""
        wanted = self.source.paraphrases
        for start in range(0, len(prompts) if wanted else 0, self.source.batch):
            batch = prompts[start : start + self.source.batch]
            answer = self.client.ask(
                f"For each of these descriptions give {wanted} other ways to say the same in 1 to 8 words. Answer "
                'with JSON alone: {"paraphrases": [{"prompt": "<as given>", "paraphrases": ["...", "..."]}, ...]}. '
                f"The descriptions: {json.dumps(batch, ensure_ascii=False)}",
                Paraphrases,
            )
            ways = {row.prompt: row.paraphrases for row in answer.paraphrases} if answer else {}
            new = {p: [way.strip() for way in ways[p] if self._usable(way)] for p in batch if p in ways}
            if new:
                self.answers.append({"kind": "paraphrases", "said": new})
                said |= new

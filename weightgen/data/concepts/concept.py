"""One editing concept: a prompt and the split it belongs to."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weightgen.data.concepts.vocabulary import Factors, parse_prompt
from weightgen.data.splits import SPLITS
from weightgen.errors import DataError
from weightgen.files import sha256

MAX_PROMPT = 1000  # characters


@dataclass(frozen=True)
class Concept:
    """One editing concept (paper, method step 1). `factors` is empty for a prompt outside the grammar.

    DataError: name not [a-z0-9_-]{1,80}, unknown split, prompt blank, too long or with control
    characters.
    """

    name: str
    prompt: str
    split: str
    paraphrases: tuple[str, ...] = ()
    factors: Factors = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9_-]{1,80}", self.name):
            raise DataError(f"concept name {self.name!r}: use 1 to 80 of a-z, 0-9, _ and - (or leave the name out)")
        if self.split not in SPLITS:
            raise DataError(f"concept {self.name}: unknown split {self.split!r}; use one of {', '.join(SPLITS)}")
        for text in (self.prompt, *self.paraphrases):
            check_prompt(self.name, text)


def check_prompt(name: str, prompt: object) -> None:
    """DataError: blank, over MAX_PROMPT characters, or with control characters."""
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"concept {name}: the prompt is blank; write what the pictures should look like")
    if len(prompt) > MAX_PROMPT:
        raise DataError(f"concept {name}: the prompt has {len(prompt)} characters; shorten it to {MAX_PROMPT}")
    # Cc: control, Cs: lone surrogate. Cf (zero-width joiners) stays: emoji and several scripts need it.
    bad = sorted({f"U+{ord(c):04X}" for c in prompt if unicodedata.category(c) in ("Cc", "Cs")})
    if bad:
        raise DataError(f"concept {name}: the prompt holds control characters {', '.join(bad)}; remove them")


def slug(prompt: str) -> str:
    """Name for a free prompt: its ASCII letters and digits, 8 hex digits of its sha256: never a path."""
    ascii_text = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", ascii_text)[:60].strip("-") or "concept"
    return f"{stem}-{sha256(prompt)[:8]}"


def factors_of(prompt: str) -> Factors:
    """What the grammar reads in a prompt; nothing in a free one, which every editor but the procedural one takes."""
    try:
        return parse_prompt(prompt)
    except DataError:
        return ()


def concepts_of(items: Iterable[tuple[str, object]]) -> list[Concept]:
    """(where it stands, {prompt, split, name?, paraphrases?}) -> concepts in this order; name defaults to `slug(prompt)`.

    DataError: unknown or missing fields, a bad prompt, split or name, a prompt or name given twice, saying where.
    """
    concepts: list[Concept] = []
    first: dict[tuple[str, str], str] = {}
    for where, item in items:
        known = {"prompt", "split", "name", "paraphrases"}
        if not isinstance(item, Mapping) or not {"prompt", "split"} <= set(item) <= known:
            raise DataError(f"concept {where}: got {item!r}; give prompt and split, optionally name and paraphrases")
        prompt = item["prompt"]
        check_prompt(where, prompt)
        name, said = item.get("name") or slug(prompt), tuple(item.get("paraphrases") or ())
        try:
            concept = Concept(name, prompt, item["split"], said, factors_of(prompt))
        except DataError as error:
            raise DataError(f"concept {where}: {error}") from error
        for field in ("prompt", "name"):
            value = getattr(concept, field)
            if (before := first.setdefault((field, value), where)) != where:
                raise DataError(
                    f"concept {where}: the {field} {value!r} is given twice, first {before}; keep one of them"
                )
        concepts.append(concept)
    return concepts

"""Concepts: a prompt and the split it belongs to, drawn from the grammar or listed by the user."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weightgen.data.concepts.grammar import MEDIA, PALETTES, Factor, Factors, parse_prompt
from weightgen.errors import DataError

SPLITS = ("train", "validation", "unseen_combination", "unseen_factor")
MAX_PROMPT = 1000  # characters

Pair = tuple[Factor, Factor]


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
    return f"{stem}-{hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _unique(concepts: list[Concept]) -> list[Concept]:
    for what, values in (("name", [c.name for c in concepts]), ("prompt", [c.prompt for c in concepts])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise DataError(f"concept {what} given twice: {', '.join(map(repr, twice))}; keep one of each")
    return concepts


class ListConcepts:
    """The user's own prompts: items {prompt, split, name?, paraphrases?}; name defaults to `slug(prompt)`."""

    def __init__(self, items: Sequence[Mapping]) -> None:
        self.items = items

    def load(self) -> list[Concept]:
        """-> concepts in the given order. DataError: empty list, unknown or missing fields, duplicates."""
        if not self.items:
            raise DataError("the list of concepts is empty; give at least one {prompt, split}")
        return _unique([concept_of(item, str(position)) for position, item in enumerate(self.items)])


def concept_of(item: Mapping, where: str) -> Concept:
    """{prompt, split, name?, paraphrases?} -> a concept; `where` the item stands, for errors."""
    known = {"prompt", "split", "name", "paraphrases"}
    if not isinstance(item, Mapping) or not {"prompt", "split"} <= set(item) <= known:
        raise DataError(f"concept {where}: got {item!r}; give prompt and split, optionally name and paraphrases")
    prompt = item["prompt"]
    check_prompt(where, prompt)
    try:
        factors = parse_prompt(prompt)
    except DataError:  # a free prompt: fine for every editor but the procedural one, which says so itself
        factors = ()
    name = item.get("name") or slug(prompt)
    return Concept(name, prompt, item["split"], tuple(item.get("paraphrases") or ()), factors)


class GrammarConcepts:
    """Every medium x palette, split so that each split asks its own question; a function of `seed` alone.

    Held-out factors appear in `unseen_factor` only. `unseen_combination` and `validation` hold pairs
    whose two factors `train` has, though never together. With the other arguments equal, a larger `train`
    contains every smaller one and leaves the other splits as they are, so that the zoo's size can be swept.
    """

    def __init__(
        self,
        train: int | None,
        validation: int,
        unseen_combination: int,
        unseen_factor: int,
        seed: int = 0,
        holdout_media: int = 3,
        holdout_palettes: int = 6,
        media: int | None = None,
        palettes: int | None = None,
    ) -> None:
        """train=None: every pair that the other splits leave. media, palettes: how many of them to use at all (None: all);
        fewer of both make a denser grid for the same number of concepts."""
        self.train = train
        self.validation = validation
        self.unseen_combination = unseen_combination
        self.unseen_factor = unseen_factor
        self.seed = seed
        self.holdout_media = holdout_media
        self.holdout_palettes = holdout_palettes
        self.media = len(MEDIA) if media is None else media
        self.palettes = len(PALETTES) if palettes is None else palettes

    def load(self) -> list[Concept]:
        """-> concepts, split after split. DataError: more asked for than there is, or train too small."""
        self._check_counts()
        media = self._shuffled(MEDIA)[: self.media]
        palettes = self._shuffled(PALETTES)[: self.palettes]
        held = {f.key for f in (*media[: self.holdout_media], *palettes[: self.holdout_palettes])}
        pairs = self._shuffled_pairs((m, p) for m in media for p in palettes)
        seen = [pair for pair in pairs if not held & {f.key for f in pair}]
        unseen = [pair for pair in pairs if held & {f.key for f in pair}]

        cover = max(len(media) - self.holdout_media, len(palettes) - self.holdout_palettes)
        spare = len(seen) - cover - self.unseen_combination - self.validation
        if spare < 0:
            raise DataError(
                f"{self.unseen_combination} unseen_combination + {self.validation} validation asked for; of "
                f"{len(seen)} combinations of seen factors train needs {cover} to show each factor"
            )
        train = cover + spare if self.train is None else self.train
        if not cover <= train <= cover + spare:
            raise DataError(f"{train} train concepts asked for; with these splits choose {cover} to {cover + spare}")
        if self.unseen_factor > len(unseen):
            raise DataError(
                f"{self.unseen_factor} unseen_factor concepts asked for; {self.holdout_media} held-out media "
                f"and {self.holdout_palettes} held-out palettes give {len(unseen)}"
            )
        # The cover is taken first: no evaluation split can then rob train of its only pair with some factor.
        shown = _balanced(seen, cover)
        combination = _balanced(_without(seen, shown), self.unseen_combination)
        validation = _balanced(_without(seen, shown + combination), self.validation)
        rest = _without(seen, shown + combination + validation)
        chosen = {
            "train": shown + _balanced(rest, train - cover, start=shown),
            "validation": validation,
            "unseen_combination": combination,
            "unseen_factor": _balanced(unseen, self.unseen_factor),
        }
        return _unique([_grammar_concept(pair, split) for split in SPLITS for pair in chosen[split]])

    def _check_counts(self) -> None:
        counts = {k: v for k, v in vars(self).items() if k != "seed" and v is not None}
        negative = [f"{name}={value}" for name, value in counts.items() if value < 0]
        if negative:
            raise DataError(f"concept counts cannot be negative: {', '.join(negative)}")
        for what, held, total, known in (
            ("media", self.holdout_media, self.media, len(MEDIA)),
            ("palettes", self.holdout_palettes, self.palettes, len(PALETTES)),
        ):
            if total > known:
                raise DataError(f"concepts.{what}={total}: the grammar has {known}")
            if held > total - 2:
                raise DataError(f"holdout_{what}={held}: there are {total} {what}, hold out at most {total - 2}")

    def _rank(self, text: str) -> str:
        return hashlib.sha256(f"{self.seed}/{text}".encode()).hexdigest()  # the same order on every platform

    def _shuffled(self, factors: Iterable[Factor]) -> list[Factor]:
        return sorted(factors, key=lambda f: self._rank(f.key))

    def _shuffled_pairs(self, pairs: Iterable[Pair]) -> list[Pair]:
        return sorted(pairs, key=lambda pair: self._rank(f"{pair[0].key}/{pair[1].key}"))


def _without(pairs: list[Pair], taken: list[Pair]) -> list[Pair]:
    gone = set(taken)
    return [pair for pair in pairs if pair not in gone]


def _balanced(pairs: list[Pair], count: int, start: Sequence[Pair] = ()) -> list[Pair]:
    """The first `count` pairs, least-used factors first; max(media, palettes) picks cover a full grid."""
    uses = Counter(factor.key for pair in start for factor in pair)
    left, chosen = list(pairs), []
    for _ in range(count):
        best = min(left, key=lambda pair: uses[pair[0].key] + uses[pair[1].key])
        left.remove(best)
        chosen.append(best)
        uses.update(factor.key for factor in best)
    return chosen


def _grammar_concept(pair: Pair, split: str) -> Concept:
    medium, palette = pair
    said = [(m, p) for m in (medium.phrase, *medium.paraphrases) for p in (palette.phrase, *palette.paraphrases)]
    prompt, *paraphrases = (f"{m} {p}" for m, p in said)
    name = f"{medium.key}-{palette.key.replace(':', '-')}"
    return Concept(name, prompt, split, tuple(paraphrases), (("medium", medium.key), ("palette", palette.key)))

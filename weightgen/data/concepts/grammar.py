"""Concepts of the prompt grammar: every medium with every palette."""

from collections import Counter
from collections.abc import Iterable, Sequence

from weightgen.data.concepts.concept import Concept
from weightgen.data.concepts.vocabulary import MEDIA, PALETTES, Factor
from weightgen.data.splits import SPLITS
from weightgen.errors import DataError
from weightgen.files import sha256

Combination = tuple[Factor, Factor]  # medium, palette


class GrammarConcepts:
    """Every medium x palette, split so that each split asks its own question; a function of `seed` alone.

    Held-out factors appear in `unseen_factor` only. `unseen_combination` and `validation` hold combinations
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
        """train=None: every combination that the other splits leave. media, palettes: how many of them to use at all
        (None: all); fewer of both make a denser grid for the same number of concepts."""
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
        grid = self._shuffled_grid((m, p) for m in media for p in palettes)
        seen = [both for both in grid if not held & {f.key for f in both}]
        unseen = [both for both in grid if held & {f.key for f in both}]

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
        # The cover is taken first: no evaluation split can then rob train of its only combination with some factor.
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
        return [_concept(both, split) for split in SPLITS for both in chosen[split]]

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
        return sha256(f"{self.seed}/{text}")  # the same order on every platform

    def _shuffled(self, factors: Iterable[Factor]) -> list[Factor]:
        return sorted(factors, key=lambda f: self._rank(f.key))

    def _shuffled_grid(self, grid: Iterable[Combination]) -> list[Combination]:
        return sorted(grid, key=lambda both: self._rank(f"{both[0].key}/{both[1].key}"))


def _without(grid: list[Combination], taken: list[Combination]) -> list[Combination]:
    gone = set(taken)
    return [both for both in grid if both not in gone]


def _balanced(grid: list[Combination], count: int, start: Sequence[Combination] = ()) -> list[Combination]:
    """The first `count` of `grid`, least-used factors first; max(media, palettes) picks cover a full grid."""
    uses = Counter(factor.key for both in start for factor in both)
    left, chosen = list(grid), []
    for _ in range(count):
        best = min(left, key=lambda both: uses[both[0].key] + uses[both[1].key])
        left.remove(best)
        chosen.append(best)
        uses.update(factor.key for factor in best)
    return chosen


def _concept(both: Combination, split: str) -> Concept:
    medium, palette = both
    said = [(m, p) for m in (medium.phrase, *medium.paraphrases) for p in (palette.phrase, *palette.paraphrases)]
    prompt, *paraphrases = (f"{m} {p}" for m, p in said)
    name = f"{medium.key}-{palette.key.replace(':', '-')}"
    return Concept(name, prompt, split, tuple(paraphrases), (("medium", medium.key), ("palette", palette.key)))

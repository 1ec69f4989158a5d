"""The vocabulary of prompts "<medium> <palette>", and the parser that reads them back.

The paper's prompts come from an LLM; a grammar instead gives prompts whose two factors can be held out one by
one, so that "never seen this combination" and "never seen this word" are different questions with different splits.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from weightgen.errors import DataError

Factors = tuple[tuple[str, str], ...]  # of a prompt: ("medium", key), ("palette", key)


@dataclass(frozen=True)
class Factor:
    """One word of the grammar: a stable `key`, the `phrase` used in prompts and other ways to say it."""

    key: str
    phrase: str
    paraphrases: tuple[str, ...]


MEDIA: tuple[Factor, ...] = (
    Factor("pencil", "pencil sketch", ("graphite drawing", "pencil drawing on white paper")),
    Factor("ink", "ink drawing", ("brush and ink", "bold black ink brushwork")),
    Factor("charcoal", "charcoal drawing", ("smudged charcoal", "dark charcoal study")),
    Factor("hatching", "cross-hatching", ("hatched drawing", "pen hatching")),
    Factor("woodcut", "woodcut print", ("linocut", "carved wood engraving")),
    Factor("oil", "oil painting", ("thick oil brushstrokes", "painted in oils")),
    Factor("watercolor", "watercolor painting", ("aquarelle", "watercolour wash")),
    Factor("poster", "posterized poster", ("flat screen print", "bold flat poster")),
    Factor("cutout", "paper cutout", ("layered paper collage", "cut paper layers")),
    Factor("halftone", "halftone print", ("newspaper dots", "halftone dot screen")),
    Factor("mosaic", "mosaic", ("ceramic tiles", "tiled mosaic wall")),
    Factor("pixel", "pixel art", ("8-bit pixels", "retro video game sprite")),
    Factor("stitch", "cross-stitch embroidery", ("embroidered fabric", "needlework sampler")),
    Factor("glass", "stained glass window", ("leaded glass", "church window glass")),
    Factor("relief", "embossed relief", ("bas-relief carving", "embossed metal plate")),
    Factor("dream", "soft dream", ("hazy soft-focus glow", "dreamy blurred vision")),
    Factor("fog", "scene in thick fog", ("misty view", "thick fog")),
    Factor("outlines", "glowing outlines", ("luminous contours in the dark", "glowing wireframe edges")),
    Factor("scanlines", "television scan lines", ("old CRT screen", "striped video monitor")),
)


def _duotone(dark: str, light: str) -> Factor:
    key = "duotone:" + ":".join(name.replace(" ", "") for name in (dark, light))
    return Factor(key, f"in {dark} and {light}", (f"in a {light} and {dark} duotone", f"printed in {dark} and {light}"))


PALETTES: tuple[Factor, ...] = (
    Factor("sepia", "in sepia tones", ("in old brown sepia", "sepia toned")),
    Factor("monochrome", "in black and white", ("in monochrome greys", "in greyscale")),
    Factor("cyanotype", "as a blue cyanotype", ("in blueprint blue", "in cyanotype blue")),
    Factor("infrared", "in infrared colours", ("as pink infrared film", "infrared film")),
    Factor("thermal", "in thermal camera colours", ("as a heat map", "in thermal imaging colours")),
    Factor("negative", "as a colour negative", ("in inverted colours", "as a photographic negative")),
    Factor("solarised", "in solarised colours", ("with a solarized darkroom effect", "solarized")),
    Factor("pastel", "in pastel colours", ("in pale pastel shades", "in soft pastels")),
    Factor("sunset", "in sunset colours", ("at sunset", "in a fiery sunset glow")),
    Factor("moonlight", "in cool moonlight", ("under a blue moon", "on a moonlit night")),
    Factor("neon", "in neon colours", ("in electric neon light", "under neon signs")),
    Factor("autumn", "in autumn colours", ("in the colours of fall leaves", "in autumnal hues")),
    Factor("forest", "in forest greens", ("in mossy woodland greens", "in deep forest colours")),
    Factor("ocean", "in ocean colours", ("in the colours of the sea", "in underwater aqua light")),
    Factor("golden", "at golden hour", ("in warm golden light", "gilded")),
    Factor("rose", "in rose pinks", ("in rosy pink hues", "in blush rose")),
    Factor("vintage", "in faded vintage colours", ("like an old faded photograph", "in retro washed-out colours")),
    Factor("arctic", "in icy arctic colours", ("in frozen pale blues", "in glacier colours")),
    Factor("lavender", "in lavender purples", ("in lilac hues", "in soft violet lavender")),
    Factor("ember", "in glowing ember colours", ("in fire and lava colours", "in burning reds")),
    Factor("nightvision", "in night vision green", ("seen through night vision goggles", "in phosphor green")),
    Factor("candy", "in candy colours", ("in bubblegum colours", "in sugary sweet colours")),
    Factor("patina", "in copper and patina", ("in verdigris copper", "in oxidised copper colours")),
    Factor("mud", "in earthy browns", ("in clay and soil colours", "in umber and ochre")),
    _duotone("navy", "orange"),
    _duotone("crimson", "teal"),
    _duotone("indigo", "gold"),
    _duotone("purple", "ivory"),
    _duotone("maroon", "spring green"),
    _duotone("dark green", "pink"),
    _duotone("midnight blue", "coral"),
    _duotone("black", "red"),
    _duotone("black", "dodger blue"),
    _duotone("dark slate blue", "light yellow"),
    _duotone("brown", "turquoise"),
    _duotone("teal", "salmon"),
    _duotone("blue", "yellow"),
    _duotone("dark violet", "pale green"),
    _duotone("crimson", "aquamarine"),
    _duotone("navy", "pink"),
    _duotone("olive", "lavender"),
    _duotone("purple", "lime"),
    _duotone("dark red", "white"),
)


@cache
def css_colours() -> dict[str, tuple[int, int, int]]:
    """CSS colour name -> red, green, blue of 0 to 255; of the two spellings of grey the British one."""
    from PIL import ImageColor  # only for prompts that the grammar itself did not make

    return {name: ImageColor.getrgb(name)[:3] for name in ImageColor.colormap if "gray" not in name}


def duotone_key(first: str, second: str) -> str:
    """Two CSS colour names -> "duotone:<darker>:<lighter>": their order in the prompt means nothing."""

    def luma(name: str) -> tuple[float, str]:
        r, g, b = css_colours()[name]
        return (299 * r + 587 * g + 114 * b, name)

    return "duotone:" + ":".join(sorted((first, second), key=luma))


# fmt: off
_FILLERS = frozenset((
    "a", "an", "the", "in", "of", "with", "as", "at", "on", "by", "to", "like", "and", "made", "painted",
    "drawn", "printed", "rendered", "style", "styled", "tone", "tones", "toned", "colour", "colours",
    "coloured", "palette", "picture", "image", "photo", "photograph", "effect", "duotone",
))
# fmt: on


def _words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).lower()
    spelling = {"color": "colour", "colors": "colours", "colored": "coloured", "gray": "grey", "grays": "greys"}
    return [spelling.get(word, word.replace("gray", "grey")) for word in re.findall(r"\w+", text)]


def _core(phrase: str) -> tuple[str, ...]:
    """The words of a phrase without the small words around it ("in sepia tones" -> ("sepia",))."""
    words = _words(phrase)
    while words and words[0] in _FILLERS:
        words.pop(0)
    while words and words[-1] in _FILLERS:
        words.pop()
    return tuple(words)


def _phrase_table() -> list[tuple[tuple[str, ...], str, str]]:
    rows = [
        (_core(phrase), kind, factor.key)
        for kind, factors in (("medium", MEDIA), ("palette", PALETTES))
        for factor in factors
        if not factor.key.startswith("duotone:")
        for phrase in (factor.phrase, *factor.paraphrases)
    ]
    return sorted(rows, key=lambda row: -len(row[0]))  # the longest phrase wins: "soft pastels" before "soft"


_PHRASES = _phrase_table()


def _colour_at(words: list[str], start: int) -> tuple[str, int] | None:
    """The CSS colour that begins at words[start], written in up to three words ("midnight blue")."""
    for count in (3, 2, 1):
        name = "".join(words[start : start + count])
        if start + count <= len(words) and name in css_colours():
            return name, start + count
    return None


def _take_duotones(words: list[str], found: list[tuple[str, str]]) -> None:
    start = 0
    while start < len(words):
        first = _colour_at(words, start)
        joined = first is not None and first[1] < len(words) and words[first[1]] == "and"
        second = _colour_at(words, first[1] + 1) if first and joined else None
        if first and second and first[0] != second[0]:
            found.append(("palette", duotone_key(first[0], second[0])))
            words[start : second[1]] = [""]
        start += 1


def parse_prompt(prompt: str) -> Factors:
    """Prompt -> (("medium", key), ("palette", key)), or only the one of the two that the prompt names.

    Reads every phrase of MEDIA and PALETTES and any "<colour> and <colour>" of CSS colour names.
    DataError: names the words not understood, a factor said twice, or a prompt without any known phrase.
    """
    words = _words(prompt)
    found: list[tuple[str, str]] = []
    for core, kind, key in _PHRASES:
        for start in range(len(words) - len(core) + 1):
            if tuple(words[start : start + len(core)]) == core:
                found.append((kind, key))
                words[start : start + len(core)] = [""]  # a marker, so that no phrase forms across the gap
    _take_duotones(words, found)
    unknown = [word for word in words if word and word not in _FILLERS]
    vocabulary = (
        f"known media: {', '.join(medium.phrase for medium in MEDIA)}; known palettes: "
        f"{', '.join(p.phrase for p in PALETTES if ':' not in p.key)}, '<CSS colour> and <CSS colour>'"
    )
    if unknown or not found:
        raise DataError(
            f"the procedural editor does not understand {unknown or 'anything'} in {prompt!r}; choose one that draws "
            f"any prompt (editor=instruct_pix2pix, img2img, premade, ...), or words it knows: {vocabulary}"
        )
    distinct = sorted(set(found))
    for kind in ("medium", "palette"):
        keys = [key for k, key in distinct if k == kind]
        if len(keys) > 1:
            raise DataError(f"prompt {prompt!r} names {len(keys)} {kind} phrases ({', '.join(keys)}); name one")
    return tuple(distinct)

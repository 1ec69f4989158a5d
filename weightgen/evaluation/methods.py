"""The rivals' names, order and colours: one place, so that every table and figure agrees."""

from collections.abc import Iterable

# name -> (label, colour). Canonical order: from scratch, bases, the trivial rivals, ours, the own LoRA.
_METHODS: dict[str, tuple[str, str]] = {
    "pix2pix_zero_distilled": ("pix2pix-zero distilled (Co-Mod-GAN)", "#9a9a9a"),
    "pix2pix": ("pix2pix (from scratch)", "#3b3b3b"),
    "e2gan": ("E2GAN (base, LoRA at zero)", "#0072b2"),
    "text_base": ("base trained on all concepts", "#f28e2b"),
    "mean": ("mean of training LoRAs", "#a6761d"),
    "nearest": ("nearest in text space", "#009e73"),
    "nearest_k": ("softmax of the k nearest", "#8ccf4d"),
    "noised_nearest": ("nearest + noise", "#d9c027"),
    "ridge": ("ridge regression", "#7b52ab"),
    "mlp": ("MLP regression", "#cc79a7"),
    "pca_gaussian": ("Gaussian in PCA space", "#6b3a4a"),
    "text_to_weights": ("text to weights, no diffusion", "#4d7c0f"),
    "few_steps": ("a few Adam steps", "#1fc8c8"),
    "generated": ("generated (ours)", "#d7301f"),
    "generated_best_of": ("generated, the best of several (ours)", "#e67e5b"),
    "generated_few_steps": ("generated, then a few Adam steps (ours)", "#c51b8a"),
    "guided": ("generated, guided by a few pairs (ours)", "#7f0000"),
    "generated_shuffled": ("generated, told another prompt", "#f4a582"),
    "generated_gibberish": ("generated, told gibberish", "#c9a18c"),
    "trained": ("the concept's own LoRA", "#56b4e9"),
    "second_draw": ("a second draw of the edits", "#444444"),
}
OURS = "generated"
FROM_WORDS = (
    "text_base",
    "mean",
    "nearest",
    "nearest_k",
    "ridge",
    "mlp",
    "text_to_weights",
)  # rivals told no more than ours
FROM_PAIRS = (
    "generated_best_of",
    "generated_few_steps",
    "guided",
)  # ours that look at pairs, compared in a table of their own
PICTURED = ("pix2pix", "e2gan", "nearest", "few_steps", "generated", "generated_few_steps", "trained")  # rows of a grid
FROM_SCRATCH = "pix2pix"
START = "e2gan"
OWN = "trained"
FLOOR = "second_draw"  # no method: how far two draws of edits that vary are apart, beyond which nothing can be learned
NO_BASE = "none"
ONE_BASE = frozenset({"text_base"})  # always on the base that saw all train concepts

# Unlisted methods take these, by a hash of the name: stable from figure to figure.
_SPARE = ("#e6550d", "#31a354", "#756bb1", "#e7298a", "#1b9e77", "#b15928", "#6a3d9a", "#66a61e")


def ordered(names: Iterable[str]) -> list[str]:
    """Distinct names in canonical order; variants (`generated_steps5`) follow their stem, strangers precede
    ours alphabetically."""
    ranks = {name: i for i, name in enumerate(_METHODS)}
    return sorted(set(names), key=lambda name: (ranks.get(_stem(name), ranks[OURS] - 0.5), name))


def pictured(names: Iterable[str]) -> list[str]:
    """As many of these methods as a grid shows: the telling ones, then others in canonical order."""
    found = ordered(names)
    return ordered(
        [*(name for name in PICTURED if name in found), *(n for n in found if n not in PICTURED)][: len(PICTURED)]
    )


def label(name: str) -> str:
    """The name a reader sees."""
    stem = _stem(name)
    if name in _METHODS:
        return _METHODS[name][0]
    return f"{_METHODS[stem][0]}: {name.removeprefix(stem).strip('_')}" if stem in _METHODS else name


def colour(name: str) -> str:
    """'#rrggbb', a function of the name alone."""
    if name in _METHODS:
        return _METHODS[name][1]
    # Not hash(): Python salts it anew in every process.
    return _SPARE[sum(i * byte for i, byte in enumerate(name.encode(), 1)) % len(_SPARE)]


def ours(name: str) -> str | None:
    """Which of our ways to start from generated weights a method is, a variant or a control of; None of a rival."""
    stem = _stem(name)
    stem = OURS if stem in (f"{OURS}_shuffled", f"{OURS}_gibberish") else stem
    return stem if stem in (OURS, *FROM_PAIRS) else None


def _stem(name: str) -> str:
    stems = [known for known in _METHODS if name == known or name.startswith(f"{known}_")]
    return max(stems, key=len, default=name)  # nearest_k is no variant of nearest

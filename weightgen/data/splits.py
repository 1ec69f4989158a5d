"""Which side a concept or a photo is on: by a stable hash of its name or content, so that adding others moves none.

Every function here works with places: numbers in [0, 1) that are equal in every set and on every machine.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from weightgen.errors import DataError
from weightgen.files import sha256

SPLITS = ("train", "validation", "unseen_combination", "unseen_factor")  # of concepts
PARTS = ("train", "validation", "test")  # of photos and of pairs: choices are made on validation, reported is test
LEAST = {"train": 2}  # concepts: a zoo of one has no spread; every other split: 1


def place_of(digest: str) -> float:
    """The place of what is known by a hash: its first 52 bits."""
    return int(digest[:13], 16) / 16**13


def place(name: str, seed: int = 0) -> float:
    """The place of what is known by name; another seed is another order."""
    return place_of(sha256(f"{seed}/{name}"))


def parts_of(sets: Iterable[Sequence[str]], shares: Mapping[str, float], least: Mapping[str, int]) -> dict[str, str]:
    """Digest of a photo -> its part, the same in all sets.

    sets: the digests of each concept's photos, ascending. shares: of "test", whose places are the lowest, and of
    "validation", whose places follow. Only where a set has under least[part] in a part does the nearest photo change
    sides, in all sets; one too small for all three gives way in training.
    """
    left, parts, share, rest = [list(photos) for photos in sets], {}, 0.0, sum(least.values())
    for part in ("test", "validation"):
        share, rest = share + shares[part], rest - least[part]
        held = _hold_out(left, share, least[part], rest)
        parts |= dict.fromkeys(held, part)
        left = [[digest for digest in photos if digest not in held] for photos in left]
    return parts | {digest: "train" for photos in left for digest in photos}


def _hold_out(sets: Sequence[Sequence[str]], share: float, held_least: int, rest_least: int) -> set[str]:
    """Digests whose place lies below `share`, in all sets at once, and those that the least numbers move."""
    held = {digest for photos in sets for digest in photos if place_of(digest) < share}
    for photos in sets:
        kept = [digest for digest in photos if digest not in held]
        held.update(kept[: max(0, held_least - (len(photos) - len(kept)))])
        lacking = rest_least - sum(digest not in held for digest in photos)
        if lacking > 0 and len(photos) >= held_least + rest_least:
            held.difference_update([digest for digest in photos if digest in held][-lacking:])
    return held


def check_shares(shares: Mapping[str, float]) -> None:
    """DataError: a split that does not exist, or shares that leave nothing to train on."""
    if set(shares) - set(SPLITS[1:]) or any(not 0 <= s < 1 for s in shares.values()) or sum(shares.values()) >= 1:
        raise DataError(
            f"concepts.splits={dict(shares)}: give shares in [0, 1) for {', '.join(SPLITS[1:])}; the rest trains"
        )


def split_prompts(
    prompts: Sequence[str], shares: Mapping[str, float], seed: int = 0, categories: Sequence[str | None] | None = None
) -> list[str]:
    """Distinct prompts, each with its category or None -> a split each. `shares`: of the splits other than train.

    unseen_factor takes whole categories of up to twice its share, so that it asks about a kind of concept never
    trained on; other prompts are drawn one by one, as for the other splits. A share is met on average; a wanted split
    gets at least one. DataError: fewer prompts than that and two to train on need.
    """
    check_shares(shares)
    wanted = [split for split in SPLITS[1:] if shares.get(split)]
    if len(prompts) < len(wanted) + LEAST["train"]:
        splits = ", ".join([f"train ({LEAST['train']} at least)", *wanted])
        raise DataError(
            f"{len(prompts)} concepts cannot fill {splits}: give more, or set shares of concepts.splits to 0"
        )
    result = ["train"] * len(prompts)
    free, left = list(range(len(prompts))), 1.0
    for still, split in reversed(list(enumerate(wanted))):
        kinds = categories if split == "unseen_factor" and categories else [None] * len(prompts)
        room = len(free) - LEAST["train"] - still  # for train and for the splits that are filled after this one
        taken = _draw(free, prompts, kinds, seed, split, shares[split] / left, room)
        taken = taken or _draw(free, prompts, [None] * len(prompts), seed, split, shares[split] / left, room)
        for row in taken:
            result[row] = split
        free = [row for row in free if row not in taken]
        left -= shares[split]
    return result


def _draw(
    free: list[int], prompts: Sequence[str], kinds: Sequence[str | None], seed: int, split: str, share: float, room: int
) -> set[int]:
    """Rows of the groups whose place lies below `share`, or of the lowest one; a group of over twice the share is left."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row in free:
        groups[prompts[row] if kinds[row] is None else f"kind/{kinds[row]}"].append(row)
    places = {name: place(f"{split}/{name}", seed) for name in groups}
    taken: set[int] = set()
    for name in sorted(groups, key=lambda name: (places[name], name)):
        if taken and places[name] >= share:
            break
        if len(taken) + len(groups[name]) <= room and len(groups[name]) <= max(1, 2 * share * len(free)):
            taken |= set(groups[name])
    return taken


def split_folders(
    names: Sequence[str], shares: Mapping[str, float], given: Mapping[str, str], seed: int = 0
) -> dict[str, str]:
    """Name of a premade concept's folder -> split.

    `shares` are the splits' lengths in [0, 1), and a concept's place there chooses its split; `given` names have one.
    Only where a split would stay too small do the nearest concepts change sides. DataError: unknown splits, shares that
    make no sense, too few concepts, naming how many to add.
    """
    if unknown := (set(shares) | set(given.values())) - set(SPLITS):
        raise DataError(f"editor.splits: unknown split {', '.join(sorted(unknown))}; there are {', '.join(SPLITS)}")
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0 or not shares.get("train"):
        raise DataError(f"editor.splits={dict(shares)}: give shares of 0 or more, and train some")
    bounds, start = {}, 0.0
    for split in SPLITS:
        end = start + shares.get(split, 0) / total
        bounds[split], start = (start, end), end
    least = {split: LEAST.get(split, 1) for split in SPLITS if shares.get(split) or split in given.values()}
    if (lacking := sum(least.values()) - len(names)) > 0:
        needs = ", ".join(f"{split} {count}" for split, count in least.items())
        raise DataError(
            f"{len(names)} concept(s) found, and the splits need {sum(least.values())} ({needs}): add "
            f"{lacking} more, or give a split no share (such as editor.splits.validation=0)"
        )
    places = {name: place(name, seed) for name in names if name not in given}
    chosen = {name: given[name] for name in names if name in given}
    for name, where in places.items():
        chosen[name] = next((split for split, (low, high) in bounds.items() if low <= where < high), "train")
    for split, count in least.items():
        while list(chosen.values()).count(split) < count:
            chosen[_nearest(places, chosen, bounds[split], least)] = split
    return {name: chosen[name] for name in names}


def _nearest(
    places: Mapping[str, float], chosen: Mapping[str, str], interval: tuple[float, float], least: Mapping[str, int]
) -> str:
    """The concept nearest to `interval` of those whose split can spare it."""
    sizes = {split: list(chosen.values()).count(split) for split in SPLITS}
    spare = [name for name in places if sizes[chosen[name]] > least.get(chosen[name], 0)]
    if not spare:
        raise DataError("the splits told for concepts leave too few for the others: add concepts, or tell fewer")
    low, high = interval
    return min(spare, key=lambda name: (max(low - places[name], places[name] - high, 0.0), name))

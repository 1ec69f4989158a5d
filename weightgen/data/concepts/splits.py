"""Splits for prompts that come without: by a hash of the prompt, so that more prompts move none."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from weightgen.data.concepts.sources import SPLITS
from weightgen.data.shares import position
from weightgen.errors import DataError


def check_shares(shares: Mapping[str, float]) -> None:
    """DataError: a split that does not exist, or shares that leave nothing to train on."""
    if set(shares) - set(SPLITS[1:]) or any(not 0 <= s < 1 for s in shares.values()) or sum(shares.values()) >= 1:
        raise DataError(
            f"concepts.splits={dict(shares)}: give shares in [0, 1) for {', '.join(SPLITS[1:])}; the rest trains"
        )


def assign_splits(
    prompts: Sequence[str], shares: Mapping[str, float], seed: int = 0, categories: Sequence[str | None] | None = None
) -> list[str]:
    """Distinct prompts, each with its category or None -> a split each.

    unseen_factor takes whole categories of up to twice its share, so that it asks about a kind of concept never
    trained on; other prompts are drawn one by one, as for the other splits. A share is met on average; a wanted split
    gets at least one. DataError: fewer prompts than that and two to train on need.
    """
    check_shares(shares)
    wanted = [split for split in SPLITS[1:] if shares.get(split)]
    if len(prompts) < len(wanted) + 2:
        splits = ", ".join(["train (2 at least)", *wanted])
        raise DataError(
            f"{len(prompts)} concepts cannot fill {splits}: give more, or set shares of concepts.splits to 0"
        )
    result = ["train"] * len(prompts)
    free, left = list(range(len(prompts))), 1.0
    for still, split in reversed(list(enumerate(wanted))):
        kinds = categories if split == "unseen_factor" and categories else [None] * len(prompts)
        room = len(free) - 2 - still  # for train and for the splits that are filled after this one
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
    places = {name: position(f"{split}/{name}", seed) for name in groups}
    taken: set[int] = set()
    for name in sorted(groups, key=lambda name: (places[name], name)):
        if taken and places[name] >= share:
            break
        if len(taken) + len(groups[name]) <= room and len(groups[name]) <= max(1, 2 * share * len(free)):
            taken |= set(groups[name])
    return taken

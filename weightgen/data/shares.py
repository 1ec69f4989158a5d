"""Which split a concept of the user's own set belongs to: by a stable hash of its name, or as told."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightgen.data.concepts.sources import SPLITS
from weightgen.errors import DataError

LEAST = {"train": 2}  # a zoo of one concept has no spread; every other split: 1


def position(name: str, seed: int = 0) -> float:
    """A concept's place in [0, 1), the same in every set and on every machine."""
    return int(hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).hexdigest()[:13], 16) / 16**13


def assign(
    names: Sequence[str], shares: Mapping[str, float], given: Mapping[str, str], seed: int = 0
) -> dict[str, str]:
    """name -> split. A concept's place in [0, 1) chooses its split, `shares` being the splits' lengths there, so that adding
    concepts moves no other; `given` names are told. Only where a split would stay too small do the nearest change sides.

    DataError: unknown splits, shares that make no sense, too few concepts, naming how many to add.
    """
    unknown = (set(shares) | set(given.values())) - set(SPLITS)
    if unknown:
        raise DataError(f"editor.splits: unknown split {', '.join(sorted(unknown))}; there are {', '.join(SPLITS)}")
    total = sum(shares.values())
    if total <= 0 or min(shares.values()) < 0 or not shares.get("train"):
        raise DataError(f"editor.splits={dict(shares)}: give shares of 0 or more, and train some")
    bounds, start = {}, 0.0
    for split in SPLITS:
        end = start + shares.get(split, 0) / total
        bounds[split], start = (start, end), end
    wanted = {split: LEAST.get(split, 1) for split in SPLITS if shares.get(split) or split in given.values()}
    if len(names) < sum(wanted.values()):
        lacking = sum(wanted.values()) - len(names)
        needs = ", ".join(f"{split} {count}" for split, count in wanted.items())
        raise DataError(
            f"{len(names)} concept(s) found, and the splits need {sum(wanted.values())} ({needs}): add "
            f"{lacking} more, or give a split no share (such as editor.splits.validation=0)"
        )
    free = [name for name in names if name not in given]
    chosen = {name: given[name] for name in names if name in given}
    for name in free:
        place = position(name, seed)
        chosen[name] = next((s for s, (a, b) in bounds.items() if a <= place < b), "train")
    for split, least in wanted.items():
        while sum(value == split for value in chosen.values()) < least:
            chosen[_nearest(free, chosen, bounds[split], wanted, seed)] = split
    return {name: chosen[name] for name in names}


def _nearest(
    free: Sequence[str], chosen: Mapping[str, str], interval: tuple[float, float], wanted: Mapping[str, int], seed: int
) -> str:
    """The concept nearest to `interval` of those whose split can spare it."""
    sizes = {split: sum(value == split for value in chosen.values()) for split in SPLITS}
    spare = [name for name in free if sizes[chosen[name]] > wanted.get(chosen[name], 0)]
    if not spare:
        raise DataError("the splits told for concepts leave too few for the others: add concepts, or tell fewer")

    def distance(name: str) -> float:
        place = position(name, seed)
        return max(interval[0] - place, place - interval[1], 0.0)

    return min(spare, key=lambda name: (distance(name), name))


@dataclass(frozen=True)
class Told:
    """What a CSV says of concepts, by folder or prompt: prompts and splits."""

    prompts: Mapping[str, str]
    splits: Mapping[str, str]


def read_told(path: str | Path | None) -> Told:
    """A CSV with columns concept, and prompt or split or both. DataError: no such file, other columns, a concept twice."""
    if path is None:
        return Told({}, {})
    file = Path(path).expanduser()
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"editor.concepts_csv={path} cannot be read ({error})") from error
    if not rows or not {"concept"} < set(rows[0]) <= {"concept", "prompt", "split"}:
        raise DataError(f"editor.concepts_csv={path}: give columns concept, and prompt or split or both")
    names = [row["concept"] for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"editor.concepts_csv={path}: concept {twice[0]!r} is there twice")
    column = {
        key: {row["concept"]: row[key].strip() for row in rows if (row.get(key) or "").strip()}
        for key in ("prompt", "split")
    }
    return Told(column["prompt"], column["split"])

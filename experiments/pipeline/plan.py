"""`+plan=true`: what would be built, how many of each stage and for about how long, and nothing done."""

import json
from collections import Counter
from collections.abc import Iterable
from statistics import median

from experiments.pipeline.progress import spell
from weightgen.artifacts import FILES, Spec, Store


class Planned(Exception):
    """A dry run ends here; the message is the plan."""


def missing(store: Store, specs: Iterable[Spec]) -> list[Spec]:
    """What is not finished of `specs` and of what those are made of, each once, what comes first first."""
    found: dict[Spec, None] = {}

    def visit(spec: Spec) -> None:
        if spec not in found and not store.has(spec):
            for upstream in spec.inputs:
                visit(upstream)
            found[spec] = None

    for spec in specs:
        visit(spec)
    return list(found)


def plan(store: Store, specs: Iterable[Spec], stages: Iterable[str]) -> str:
    """A line a stage, in the order of `stages`: how many are missing, and the seconds that as many finished ones took."""
    counts = Counter(spec.stage for spec in missing(store, specs))
    if not counts:
        return "nothing is to be built: every artifact is there"
    lines, known = [], 0.0
    for stage in sorted(counts, key=list(stages).index):
        count = counts[stage]
        seconds = recorded(store, stage)
        known += count * seconds if seconds else 0
        lines.append(f"  {stage:10} {count:5}   {spell(count * seconds) if seconds else 'unknown'}")
    total = (
        f"in all about {spell(known)} of one process, what is unknown aside"
        if known
        else "no finished artifact says how long"
    )
    return "\n".join(["to be built, with the time that finished ones took:", *lines, total])


def recorded(store: Store, stage: str) -> float | None:
    """The median of the seconds that finished artifacts of a stage took to build; None if there are none."""
    seconds = []
    for finished in (store.root / stage).glob(f"*/{FILES}"):
        spent = json.loads((finished.parent / "metrics.json").read_text()).get("seconds")
        seconds += [spent] if isinstance(spent, int | float) else []
    return median(seconds) if seconds else None

"""The stage graph as a reader sees it: what is finished, what it took, what came from what."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.pipeline.build import Pipeline
from experiments.pipeline.graph import STAGES
from weightgen.artifacts import Spec, Store

DONE, STARTED, MISSING = "finished", "started", "missing"


@dataclass
class StageNode:
    """Artifacts that play one part: all pairs, the zoo's LoRAs, the denoiser, ...

    artifacts: label, key, state, seconds (None: nobody kept the time); inputs: names, those implied by others left out.
    """

    name: str
    depth: int = 0
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """finished, missing, or else started."""
        states = {artifact["state"] for artifact in self.artifacts}
        return states.pop() if len(states) == 1 else STARTED

    @property
    def finished(self) -> int:
        return sum(artifact["state"] == DONE for artifact in self.artifacts)

    @property
    def seconds(self) -> float | None:
        """Seconds that the finished ones took, one after the other; None where nobody kept the time."""
        known = [artifact["seconds"] for artifact in self.artifacts if artifact["seconds"] is not None]
        return sum(known) if known else None


def stage_nodes(pipelines: Sequence[Pipeline], specs: Iterable[Spec]) -> list[StageNode]:
    """Nodes of everything upstream of `specs`, inputs first."""
    store, zoo = pipelines[0].store, {lora for p in pipelines for lora in _zoo(p)}
    nodes: dict[str, StageNode] = {}
    parents: dict[str, set[str]] = {}
    for spec in upstream_first(specs):
        if not STAGES[spec.stage].target:  # features of prompts and the like, made in passing
            continue
        name = _part(spec, zoo)
        node = nodes.setdefault(name, StageNode(name))
        node.artifacts.append(_artifact(store, spec))
        parents.setdefault(name, set()).update({_part(s, zoo) for s in spec.inputs if STAGES[s.stage].target} - {name})
    ancestors: dict[str, set[str]] = {}
    for name, node in nodes.items():  # every part's first artifact comes after all parts it is made from
        ancestors[name] = parents[name].union(*(ancestors.get(p, set()) for p in parents[name]))
        implied = set().union(*(ancestors.get(parent, set()) for parent in parents[name]))
        node.inputs = sorted(parents[name] - implied)
        node.depth = max((nodes[parent].depth + 1 for parent in node.inputs), default=0)
    return list(nodes.values())


def upstream_first(specs: Iterable[Spec]) -> list[Spec]:
    """`specs` and everything they are made from, each once, by stage in the order of the graph."""
    found: dict[Spec, None] = {}
    stack = list(specs)
    while stack:
        spec = stack.pop()
        if spec not in found:
            found[spec] = None
            stack += spec.inputs
    ranks = {stage: rank for rank, stage in enumerate(STAGES)}
    return sorted(found, key=lambda spec: (ranks[spec.stage], spec.label))


def _zoo(pipeline: Pipeline) -> list[Spec]:
    return [pipeline.lora(concept) for concept in pipeline.zoo]


def _part(spec: Spec, zoo: set[Spec]) -> str:
    if spec in zoo:
        return "zoo"
    if spec.stage == "lora":
        return "other LoRAs"
    return spec.label if spec.stage == "base" else spec.stage


def _artifact(store: Store, spec: Spec) -> dict[str, Any]:
    """label, key, state and seconds of one artifact."""
    state = DONE if store.has(spec) else STARTED if store.started(spec) else MISSING
    metrics = store.metrics(spec) if state == DONE else {}
    return {"label": spec.label, "key": spec.key, "state": state, "seconds": metrics.get("seconds")}

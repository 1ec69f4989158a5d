"""What a stage is: how its artifacts are called, who builds them, and what a builder is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightgen.artifacts import Spec, Store
from weightgen.errors import WeightgenError
from weightgen.files import read_json

if TYPE_CHECKING:
    from experiments.pipeline.runtime import Runtime


@dataclass(frozen=True)
class Artifact:
    """A finished artifact as a builder sees it: what is in its key, and its folder."""

    stage: str
    config: Mapping[str, Any]
    folder: Path
    reference: Mapping[str, str]  # stage, key and label, as inputs.json names it

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of its metrics.json."""
        return read_json(self.folder / "metrics.json")


class Inputs:
    """The finished artifacts that a builder works on, by stage, in the order of its spec."""

    def __init__(self, artifacts: Iterable[Artifact]) -> None:
        self._artifacts = list(artifacts)

    @classmethod
    def of(cls, store: Store, spec: Spec) -> Inputs:
        """Raises MissingArtifact where an input is not finished."""
        return cls(artifact(store, source) for source in spec.inputs)

    def all(self, *stages: str) -> list[Artifact]:
        return [artifact for artifact in self._artifacts if artifact.stage in stages]

    def maybe(self, *stages: str) -> Artifact | None:
        """The only one of these stages; None if there is none."""
        found = self.all(*stages)
        if len(found) > 1:
            raise WeightgenError(f"{len(found)} inputs are {' or '.join(stages)} where one was expected")
        return found[0] if found else None

    def one(self, *stages: str) -> Artifact:
        """The only one of these stages. Raises WeightgenError if there is none."""
        found = self.maybe(*stages)
        if found is None:
            raise WeightgenError(f"no input is {' or '.join(stages)}")
        return found


def artifact(store: Store, spec: Spec) -> Artifact:
    """A finished artifact. Raises MissingArtifact."""
    return Artifact(spec.stage, spec.config, store.require(spec), spec.reference())


Build = Callable[[Mapping[str, Any], Inputs, Path, "Runtime"], Mapping[str, Any]]


@dataclass(frozen=True)
class Stage:
    """build: (config, inputs, folder, runtime) -> the content of metrics.json; it writes its payload into `folder`, and
    all that it reads is in its config, in its inputs, or changes no result.

    version: to be raised when a result changes. target: the make target that builds it; "": built wherever it is needed.
    per_concept: its artifacts may be built by several processes at once. shared: the batches of its training may be shared
    by several processes (strategy.ranks). models: it reads prompts or scores images, so their models must be there.
    """

    name: str
    version: int
    target: str
    build: Build
    per_concept: bool = False
    shared: bool = False
    models: bool = True

    def spec(self, config: Mapping[str, Any], inputs: Sequence[Spec], label: str, subject: Any = None) -> Spec:
        return Spec(self.name, self.version, config, tuple(inputs), self.target, label, subject)

"""Building what is missing of the stage graph: once, resumably, concepts in parallel processes."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.command.app import prepare
from experiments.pipeline.graph import STAGES, StageGraph
from experiments.pipeline.plan import Planned, missing, plan
from experiments.pipeline.progress import reported
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.shards import kind, trains
from experiments.pipeline.stage import Artifact, Inputs, artifact
from experiments.stages.pairs import release_editor
from experiments.sweeps.jobs import deaf_children, end_with, promise
from experiments.training.provenance import provenance
from weightgen.artifacts import Spec, Store
from weightgen.data.concepts.concept import Concept

# Nothing here imports torch until something is built: a command whose artifacts are finished answers at once.


class Pipeline(StageGraph):
    """A configuration's stage graph with the store that holds, or will hold, its artifacts."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self.store = Store(cfg.paths.artifacts, lambda: provenance() | self.runtime.machine())

    @cached_property
    def runtime(self) -> Runtime:
        return Runtime.of(self.cfg)

    @cached_property
    def concepts(self) -> list[Concept]:
        """Of the configured source, asked first where it must be (build_missing=false: `make concepts` alone asks)."""
        if self.collected is None:
            return super().concepts
        own = (self.cfg.build_missing and not self.cfg.get("plan")) or self.store.has(self.collected)
        return self.with_zoo(
            self.source.load(self.ensure(self.collected) if own else self.store.require(self.collected))
        )

    def artifact(self, spec: Spec) -> Artifact:
        """A finished artifact. Raises MissingArtifact."""
        return artifact(self.store, spec)

    def ensure(self, spec: Spec) -> Path:
        """The finished folder of `spec`; builds what is missing upstream (build_missing=false: of its make target alone)."""
        if self.store.has(spec):
            return self.store.require(spec)
        self._ensure_inputs(spec)
        if spec.stage not in ("photos", "pairs"):
            release_editor()
        return self.store.ensure(spec, lambda folder: self._build(spec, folder))

    def _build(self, spec: Spec, folder: Path) -> Mapping[str, Any]:
        stage, runtime = STAGES[spec.stage], self.runtime.named(spec)
        given = (spec.config, Inputs.of(self.store, spec), folder, runtime)
        if stage.shared:
            from experiments.pipeline.ranks import group, ranks

            if (size := ranks(runtime)) > 1:
                with group(size, runtime.gpu, _follow, stage.name, *given):
                    return stage.build(*given)
        return stage.build(*given)

    def _ensure_inputs(self, spec: Spec) -> None:
        for upstream in spec.inputs:
            own = self.cfg.build_missing or upstream.target in ("", spec.target)
            self.ensure(upstream) if own else self.store.require(upstream)

    def ensure_part(self, part: Sequence[Spec], row: int = 0) -> None:
        """Build one of the parts of a stage's missing specs that `parts` makes. row: of its progress bar."""
        if not self._in_fleets(part[0]):
            for spec in part:
                self.ensure(spec)
            return
        from experiments.pipeline.fleet import train_together

        for spec in part:
            self._ensure_inputs(spec)
        release_editor()
        train_together(self.store, part, self.runtime, row)

    def parts(self, level: Sequence[Spec]) -> list[list[Spec]]:
        """What a process builds before it takes more: a spec, or where several train at once, a share of all of a kind."""
        together = [spec for spec in level if self._in_fleets(spec)]
        kinds = [[spec for spec in together if kind(spec) == one] for one in dict.fromkeys(map(kind, together))]
        shares = [of[i :: self.workers] for of in kinds for i in range(min(self.workers, len(of)))]
        return [*shares, *([spec] for spec in level if not self._in_fleets(spec))]

    def _in_fleets(self, spec: Spec) -> bool:
        """Whether one process trains several concepts at once of what this is."""
        return self.cfg.fleet.size > 1 and trains(spec)

    def ensure_all(self, specs: Sequence[Spec]) -> None:
        """Build what is missing of `specs`, level by level, concepts in parallel processes (strategy.workers).

        A job of a multirun is judged by these artifacts. +plan=true: raises Planned, builds nothing.
        """
        if self.cfg.get("plan"):
            raise Planned(plan(self.store, specs, STAGES))
        promise(self.store, specs)
        lacking = [spec for spec in dict.fromkeys(specs) if not self.store.has(spec)]
        if not lacking:
            return
        from experiments.pipeline.ranks import ranks

        prepare(self.runtime.threads)
        ranks(self.runtime)
        if any(STAGES[spec.stage].models for spec in lacking):
            self._require_models()
        self._wanted = lacking
        self._ensure_levels(lacking)

    def _left(self) -> str:
        """What is still to be built, as `lora 12, blocks 1`."""
        counts = Counter(spec.stage for spec in missing(self.store, self._wanted))
        return ", ".join(f"{stage} {count}" for stage, count in counts.items())

    def _require_models(self) -> None:
        """MissingModel if the text encoder or the features of the metrics cannot be had: before hours of work."""
        from experiments.training.payloads import image_metrics, text_encoder

        _ = text_encoder(self.options("text_encoder")).dim
        image_metrics(self.runtime.metrics)

    def _ensure_levels(self, specs: Sequence[Spec]) -> None:
        lacking = [spec for spec in dict.fromkeys(specs) if not self.store.has(spec)]
        if not lacking:
            return
        if self.cfg.build_missing:
            self._ensure_levels(list(dict.fromkeys(upstream for spec in lacking for upstream in spec.inputs)))
            lacking = [spec for spec in lacking if not self.store.has(spec)]  # some inputs are of this very level
        for name, stage in STAGES.items():
            level = [spec for spec in lacking if spec.stage == name]
            parts = self.parts(level)
            if not parts:
                continue
            if stage.per_concept and len(parts) > 1 and self._workers(name) > 1:
                done = self._parallel(name, parts)
            else:
                done = (self.ensure_part(part, row=int(len(parts) > 1)) for part in parts)
            for _ in reported(done, name, len(parts), self._left):
                pass

    @property
    def workers(self) -> int:
        """How many processes share per-concept work."""
        from joblib import cpu_count

        return self.runtime.workers or cpu_count(only_physical_cores=False)

    def _workers(self, stage: str) -> int:
        """Of one stage: an editor that loads a model says how many processes may."""
        own = self.cfg.editor.get("workers") if stage == "pairs" else None
        return own or self.workers

    def _parallel(self, stage: str, parts: list[list[Spec]]) -> Iterator[None]:
        """Build the parts in worker processes, started at once; -> one item as each is finished."""
        from joblib import Parallel, delayed

        container = OmegaConf.to_container(self.cfg, resolve=False)
        tasks = (delayed(_work)(container, part, 1 + row, os.getpid()) for row, part in enumerate(parts))
        pool = Parallel(
            n_jobs=min(self._workers(stage), len(parts)), backend="loky", return_as="generator_unordered", batch_size=1
        )
        with deaf_children():
            return pool(tasks)


def _follow(name: str, config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> None:
    """In a process that shares a stage's training: what rank 0 does."""
    prepare(runtime.threads)
    STAGES[name].build(config, inputs, folder, runtime)


def _work(container: dict[str, Any], part: list[Spec], row: int, parent: int) -> None:
    """In a worker process of `parent`, which may be gone by now: build one part."""
    end_with(parent)
    pipeline = Pipeline(OmegaConf.create(container))
    prepare(pipeline.runtime.threads)
    pipeline.ensure_part(part, row)

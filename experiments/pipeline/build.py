"""Building what is missing of the stage graph: once, resumably, concepts in parallel processes."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch.distributed as dist
from joblib import Parallel, cpu_count, delayed
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from experiments.command.app import prepare
from experiments.pipeline.graph import STAGES, StageGraph
from experiments.pipeline.ranks import ReadOnlyStore, group, ranks
from experiments.stages.editors import release_editor
from experiments.sweeps.jobs import end_with, promise
from weightgen.artifacts import Spec, Store
from weightgen.data.concepts.concept import Concept
from weightgen.errors import WeightgenError

MODEL_FREE = ("concepts", "photos", "pairs")  # stages that read no prompt and score no image
PER_CONCEPT = ("pairs", "lora", "init", "finetune")
SHARED = ("base", "denoiser", "function")  # stages whose batches several processes can share (strategy.ranks)
FLEETS = {"lora": "experiments.stages.lora_fleet"}  # stages whose concepts fleet.size lets train at once -> who does it


class Pipeline(StageGraph):
    """A configuration's stage graph with the store that holds, or will hold, its artifacts."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self.store = Store(cfg.paths.artifacts)

    @cached_property
    def concepts(self) -> list[Concept]:
        """Of the configured source, asked first where it must be (build_missing=false: `make concepts` alone asks)."""
        if self.collected is None:
            return super().concepts
        own = self.cfg.build_missing or self.store.has(self.collected)
        return self.source.load(self.ensure(self.collected) if own else self.store.require(self.collected))

    def ensure(self, spec: Spec) -> Path:
        """The finished folder of `spec`; builds what is missing upstream (build_missing=false: of its make target alone)."""
        if self.store.has(spec):
            return self.store.require(spec)
        self._ensure_inputs(spec)
        if spec.stage not in ("photos", "pairs"):
            release_editor()
        return self.store.ensure(spec, lambda folder: self._build(spec, folder))

    def _build(self, spec: Spec, folder: Path) -> Mapping[str, Any] | None:
        build: Callable = import_module(STAGES[spec.stage][0]).BUILDERS[spec.stage]
        size = ranks(self.cfg) if spec.stage in SHARED else 1
        if size == 1 or dist.is_initialized():
            return build(self, spec, folder)
        container = OmegaConf.to_container(self.cfg, resolve=False)
        with group(size, self.cfg.strategy.trainer.accelerator == "gpu", _follow, container, spec, folder):
            return build(self, spec, folder)

    def _ensure_inputs(self, spec: Spec) -> None:
        for upstream in spec.inputs:
            own = self.cfg.build_missing or upstream.target == spec.target
            self.ensure(upstream) if own else self.store.require(upstream)

    def ensure_part(self, part: Sequence[Spec], row: int = 0) -> None:
        """Build one of the parts of a stage's missing specs that `parts` makes. row: of its progress bar."""
        if (fleet := self._fleet(part[0].stage)) is None:
            for spec in part:
                self.ensure(spec)
            return
        for spec in part:
            self._ensure_inputs(spec)
        release_editor()
        fleet.train_together(self, part, row)

    def parts(self, level: Sequence[Spec]) -> list[list[Spec]]:
        """What a process builds before it takes more: a spec, or where fleets train, a share of those alike."""
        fleet = self._fleet(level[0].stage) if level else None
        return [[spec] for spec in level] if fleet is None else fleet.shares(level, self.workers)

    def _fleet(self, stage: str) -> Any:
        size = self.cfg.fleet.size
        if not isinstance(size, int) or size < 1:
            raise WeightgenError(f"fleet.size={size}: give how many concepts train at once, 1 or more")
        return import_module(FLEETS[stage]) if stage in FLEETS and size > 1 else None

    def ensure_all(self, specs: Sequence[Spec]) -> None:
        """Build what is missing of `specs`, level by level, concepts in parallel processes (strategy.workers).

        A job of a multirun is judged by these artifacts.
        """
        promise(self.store, specs)
        if any(spec.stage not in MODEL_FREE and not self.store.has(spec) for spec in specs):
            self._require_models()
        self._ensure_levels(specs)

    def _require_models(self) -> None:
        """MissingModel if the text encoder or the features of the metrics cannot be had: before hours of work."""
        from experiments.pipeline.load import image_metrics, text_encoder  # it imports this module

        _ = text_encoder(self.cfg).dim
        image_metrics(self.cfg)

    def _ensure_levels(self, specs: Sequence[Spec]) -> None:
        missing = [spec for spec in dict.fromkeys(specs) if not self.store.has(spec)]
        if not missing:
            return
        if self.cfg.build_missing:
            self._ensure_levels(list(dict.fromkeys(upstream for spec in missing for upstream in spec.inputs)))
        for stage in STAGES:
            parts = self.parts([spec for spec in missing if spec.stage == stage])
            if stage in PER_CONCEPT and len(parts) > 1 and self._workers(stage) > 1:
                self._parallel(stage, parts)
            else:
                for part in tqdm(parts, desc=stage, disable=None if len(parts) > 1 else True, leave=False):
                    self.ensure_part(part, row=int(len(parts) > 1))

    @property
    def workers(self) -> int:
        """How many processes share per-concept work."""
        return self.cfg.strategy.workers or cpu_count(only_physical_cores=False)

    def _workers(self, stage: str) -> int:
        """Of one stage: an editor that loads a model says how many processes may."""
        own = self.cfg.editor.get("workers") if stage == "pairs" else None
        return own or self.workers

    def _parallel(self, stage: str, parts: list[list[Spec]]) -> None:
        container = OmegaConf.to_container(self.cfg, resolve=False)
        tasks = (delayed(_work)(container, part, 1 + row) for row, part in enumerate(parts))
        pool = Parallel(
            n_jobs=min(self._workers(stage), len(parts)), backend="loky", return_as="generator_unordered", batch_size=1
        )
        for _ in tqdm(pool(tasks), desc=stage, total=len(parts), disable=None, leave=False):
            pass


def _follow(container: dict[str, Any], spec: Spec, folder: Path) -> None:
    """In a process that shares a stage's training: what rank 0 does."""
    cfg = OmegaConf.create(container)
    prepare(cfg)
    pipeline = Pipeline(cfg)
    pipeline.store = ReadOnlyStore(cfg.paths.artifacts)
    pipeline._build(spec, folder)


def _work(container: dict[str, Any], part: list[Spec], row: int) -> None:
    """In a worker process: build one part."""
    end_with(os.getppid())
    cfg = OmegaConf.create(container)
    prepare(cfg)
    Pipeline(cfg).ensure_part(part, row)

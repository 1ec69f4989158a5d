"""Building what is missing of the stage graph: once, resumably, concepts in parallel processes."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from joblib import Parallel, cpu_count, delayed
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from experiments._app import prepare
from experiments.graph import STAGES, StageGraph
from weightgen.artifacts import Spec, Store

PER_CONCEPT = ("pairs", "lora", "init", "finetune")


class Pipeline(StageGraph):
    """A configuration's stage graph with the store that holds, or will hold, its artifacts."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self.store = Store(cfg.paths.artifacts)

    def ensure(self, spec: Spec) -> Path:
        """The finished folder of `spec`; builds what is missing upstream (build_missing=false: of its make target alone)."""
        if self.store.has(spec):
            return self.store.require(spec)
        for upstream in spec.inputs:
            own = self.cfg.build_missing or upstream.target == spec.target
            self.ensure(upstream) if own else self.store.require(upstream)
        build: Callable = import_module(STAGES[spec.stage][0]).BUILDERS[spec.stage]
        return self.store.ensure(spec, lambda folder: build(self, spec, folder))

    def ensure_all(self, specs: Sequence[Spec]) -> None:
        """Build what is missing of `specs`, level by level, concepts in parallel processes (strategy.workers)."""
        missing = [spec for spec in dict.fromkeys(specs) if not self.store.has(spec)]
        if not missing:
            return
        if self.cfg.build_missing:
            self.ensure_all(list(dict.fromkeys(upstream for spec in missing for upstream in spec.inputs)))
        for stage in STAGES:
            level = [spec for spec in missing if spec.stage == stage]
            if stage in PER_CONCEPT and len(level) > 1 and self.workers > 1:
                self._parallel(stage, level)
            else:
                for spec in tqdm(level, desc=stage, disable=None if len(level) > 1 else True, leave=False):
                    self.ensure(spec)

    @property
    def workers(self) -> int:
        """How many processes share per-concept work."""
        return self.cfg.strategy.workers or cpu_count(only_physical_cores=False)

    def _parallel(self, stage: str, specs: list[Spec]) -> None:
        container = OmegaConf.to_container(self.cfg, resolve=False)
        tasks = (delayed(_work)(container, spec) for spec in specs)
        pool = Parallel(
            n_jobs=min(self.workers, len(specs)),
            backend="loky",
            return_as="generator_unordered",
            batch_size=1,
        )
        for _ in tqdm(pool(tasks), desc=stage, total=len(specs), disable=None, leave=False):
            pass


@cache
def _end_with(parent: int) -> None:
    """End this worker when its parent is gone: a run that was killed -9 must not go on in its orphans."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(container: dict[str, Any], spec: Spec) -> None:
    """In a worker process: build one spec."""
    _end_with(os.getppid())
    cfg = OmegaConf.create(container)
    prepare(cfg)
    Pipeline(cfg).ensure(spec)

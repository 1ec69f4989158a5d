"""Many concepts: worker processes and stacked fleets against Lightning runs one at a time; and how a zoo's cost grows."""

import os
from collections.abc import Iterator
from functools import partial

import torch
from joblib import Parallel, cpu_count, delayed
from omegaconf import OmegaConf

from experiments._app import prepare
from experiments.benchmarks.memory import peak_mb
from experiments.benchmarks.problem import Problem, Setting, problem
from experiments.benchmarks.runner import Contest, Side
from experiments.pipeline import _end_with
from weightgen.translation.fleet import FleetSteps


def fleet(setting: Setting) -> Iterator[Contest]:
    """Concepts an hour, each trained `steps` steps from its making to its LoRA.

    The baseline trains `solo` concepts, whatever C is: one at a time, its concepts an hour do not depend on C.
    """
    options = setting.cfg.bench.fleet
    for size in setting.cfg.bench.sizes:
        work = Problem(setting.cfg, size)
        for concepts in options.concepts:
            if (workers := min(worker_count(setting), concepts)) > 1:
                pool = Workers(setting, size, workers)
                yield Contest(
                    f"fleet workers={workers} C={concepts} {options.steps} steps {size} px",
                    "concepts/h",
                    _solo(setting, work, wall=True),
                    Side(partial(setting.wall, partial(pool.train, concepts, options.steps)), concepts),
                    options.target,
                    partial(pool.peak_mb, concepts, options.steps),
                )
            stacked = partial(train_fleet, work, concepts, options.steps, concepts)
            yield Contest(
                f"fleet stacked C={concepts} {options.steps} steps {size} px",
                "concepts/h",
                _solo(setting, work),
                Side(partial(setting.clock, stacked), concepts),
                options.target,
            )


def zoo(setting: Setting) -> Iterator[Contest]:
    """Seconds a concept of zoos of several sizes against the smallest: 1 is linear, more is better than linear.

    Zoos train as they are deployed: in worker processes where there are several, else as a fleet.
    """
    options = setting.cfg.bench.zoo
    for size in setting.cfg.bench.sizes:
        work, workers = Problem(setting.cfg, size), worker_count(setting)

        def train(concepts: int, work: Problem = work, workers: int = workers) -> None:
            if workers > 1:
                Workers(setting, work.size, workers).train(concepts, options.steps)
            else:
                train_fleet(work, concepts, options.steps, min(concepts, options.fleet))

        first, *others = options.concepts
        for concepts in others:
            sides = (Side(partial(setting.wall, partial(train, n)), n) for n in (first, concepts))
            title = f"zoo N={concepts} against N={first} {size} px"
            unmeasured = (lambda: None) if workers > 1 else None
            yield Contest(title, "s/concept", *sides, target=1.0, memory=unmeasured)


def _solo(setting: Setting, work: Problem, wall: bool = False) -> Side:
    options = setting.cfg.bench.fleet

    def train() -> None:
        for concept in range(options.solo):
            work.train_alone(concept, options.steps)

    return Side(partial(setting.wall if wall else setting.clock, train), options.solo)


def train_fleet(work: Problem, concepts: int, steps: int, size: int) -> None:
    module = work.fleet(concepts, steps, size)
    work.trainer().fit(module, FleetSteps(module))


def worker_count(setting: Setting) -> int:
    """strategy.workers, as the pipeline understands it."""
    return setting.cfg.strategy.workers or cpu_count(only_physical_cores=False)


class Workers:
    """Concepts in worker processes, as experiments.pipeline shares them out; the processes are kept between runs."""

    def __init__(self, setting: Setting, size: int, workers: int) -> None:
        self.description = OmegaConf.to_yaml(setting.cfg, resolve=True)
        self.size, self.workers = size, workers

    def train(self, concepts: int, steps: int, measured: bool = False) -> list[tuple[int, float | None]]:
        """-> per concept the process that trained it, and if `measured` by how many megabytes that grew at its peak."""
        arguments = ((self.description, self.size, concept, steps, measured) for concept in range(concepts))
        pool = Parallel(n_jobs=self.workers, backend="loky", batch_size=1)
        return pool(delayed(_train_in_worker)(*given) for given in arguments)

    def peak_mb(self, concepts: int, steps: int) -> float | None:
        """The sum over processes of each one's growth (see memory.peak_mb) at its worst concept."""
        peaks: dict[int, float] = {}
        for process, grown in self.train(concepts, steps, measured=True):
            if grown is None:
                return None
            peaks[process] = max(grown, peaks.get(process, 0.0))
        return sum(peaks.values())


def _train_in_worker(
    description: str, size: int, concept: int, steps: int, measured: bool
) -> tuple[int, float | None]:
    _end_with(os.getppid())
    prepare(OmegaConf.create(description))
    work = partial(problem(description, size).train_alone, concept, steps)
    if measured:
        return os.getpid(), peak_mb(work, torch.device("cpu"))
    work()
    return os.getpid(), None

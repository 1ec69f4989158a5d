"""Many concepts: worker processes and lanes against Lightning runs one at a time; and how a zoo's cost grows."""

import os
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from joblib import Parallel, cpu_count, delayed
from omegaconf import OmegaConf

from experiments.benchmarks.memory import peak_mb
from experiments.benchmarks.problem import Problem, Setting, problem
from experiments.benchmarks.runner import Contest, Side, Stopwatch
from experiments.command.app import prepare
from experiments.sweeps.jobs import end_with


def fleet(setting: Setting) -> Iterator[Contest]:
    """Concepts an hour, each trained `steps` steps from its making to its LoRA.

    The baseline trains `solo` concepts, whatever C is: one at a time, its concepts an hour do not depend on C. Ours
    are, where there are several worker processes, those, one concept at a time each or lanes each; and lanes of one process.
    """
    options, workers = setting.cfg.bench.fleet, worker_count(setting)
    for size in setting.cfg.bench.sizes:
        work, end = Problem(setting.cfg, size), f"{options.steps} steps {size} px"

        def solo(clock: Stopwatch, work: Problem = work) -> Side:
            runs = partial(_one_by_one, work, range(options.solo), options.steps)
            return Side(partial(clock, runs), options.solo)

        for concepts in options.concepts:
            shares = {"": 1} | ({" lanes": -(-concepts // workers)} if concepts > workers else {})
            for kind, share in shares.items() if workers > 1 else ():
                pool = Workers(setting, size, min(workers, concepts), share)
                yield Contest(
                    f"fleet workers={pool.workers}{kind} C={concepts} {end}",
                    "concepts/h",
                    solo(setting.wall),
                    Side(partial(setting.wall, partial(pool.train, concepts, options.steps)), concepts),
                    options.target,
                    partial(pool.peak_mb, concepts, options.steps),
                )
            lanes = partial(work.train_lanes, range(concepts), options.steps, concepts)
            yield Contest(
                f"fleet lanes C={concepts} {end}",
                "concepts/h",
                solo(setting.clock),
                Side(partial(setting.clock, lanes), concepts),
                options.target if workers == 1 else None,  # it is the workers' to reach where there are some
            )


def zoo(setting: Setting) -> Iterator[Contest]:
    """Seconds a concept of zoos of several sizes against the smallest: 1 is linear, more is better than linear.

    Zoos train in worker processes where there are several, else on lanes.
    """
    options, workers = setting.cfg.bench.zoo, worker_count(setting)
    for size in setting.cfg.bench.sizes:
        work, pool = Problem(setting.cfg, size), Workers(setting, size, workers)

        def train(concepts: int, work: Problem = work, pool: Workers = pool) -> None:
            if workers > 1:
                pool.train(concepts, options.steps)
            else:
                work.train_lanes(range(concepts), options.steps, min(concepts, options.fleet))

        first, *others = options.concepts
        for concepts in others:
            sides = (Side(partial(setting.wall, partial(train, n)), n) for n in (first, concepts))
            memory = partial(pool.peak_mb, concepts, options.steps) if workers > 1 else None
            title = f"zoo N={concepts} against N={first} {size} px"
            yield Contest(title, "s/concept", *sides, target=1.0, memory=memory)


def worker_count(setting: Setting) -> int:
    """strategy.workers, as the pipeline understands it."""
    return setting.cfg.strategy.workers or cpu_count(only_physical_cores=False)


class Workers:
    """Concepts in worker processes, as experiments.pipeline.build shares them out; the processes are kept between runs.

    share: concepts of a task; a process trains several on lanes.
    """

    def __init__(self, setting: Setting, size: int, workers: int, share: int = 1) -> None:
        self.description = OmegaConf.to_yaml(setting.cfg, resolve=True)
        self.size, self.workers, self.share = size, workers, share

    def train(self, concepts: int, steps: int, measured: bool = False) -> list[tuple[int, float | None]]:
        """-> per task the process that did it, and if `measured` by how many megabytes that grew at its peak."""
        shares = [range(concepts)[i : i + self.share] for i in range(0, concepts, self.share)]
        pool = Parallel(n_jobs=self.workers, backend="loky", batch_size=1)
        task = delayed(_train_in_worker)
        return pool(task(self.description, self.size, share, steps, measured) for share in shares)

    def peak_mb(self, concepts: int, steps: int) -> float | None:
        """The sum over processes of each one's growth (see memory.peak_mb) at its worst task."""
        peaks: dict[int, float] = {}
        for process, grown in self.train(concepts, steps, measured=True):
            if grown is None:
                return None
            peaks[process] = max(grown, peaks.get(process, 0.0))
        return sum(peaks.values())


def _one_by_one(work: Problem, concepts: Sequence[int], steps: int) -> None:
    for concept in concepts:
        work.train_alone(concept, steps)


def _train_in_worker(
    description: str, size: int, concepts: Sequence[int], steps: int, measured: bool
) -> tuple[int, float | None]:
    end_with(os.getppid())
    prepare(OmegaConf.create(description).strategy.threads)
    work = problem(description, size)
    if len(concepts) > 1:
        run = partial(work.train_lanes, concepts, steps, len(concepts))
    else:
        run = partial(_one_by_one, work, concepts, steps)
    if measured:
        return os.getpid(), peak_mb(run, torch.device("cpu"))
    run()
    return os.getpid(), None

"""All families of benchmarks as one run: bench.csv after every row, then README.md and ratios.png."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig
from tqdm import tqdm

from experiments.benchmarks.evaluation import evaluation
from experiments.benchmarks.fleet import fleet, zoo
from experiments.benchmarks.generation import blocks, generation
from experiments.benchmarks.problem import Setting
from experiments.benchmarks.report import figure, save, show
from experiments.benchmarks.runner import Result, measure
from experiments.benchmarks.step import lean, step
from experiments.pipeline.runtime import Runtime
from weightgen.errors import WeightgenError

log = logging.getLogger(__name__)
FAMILIES = {family.__name__: family for family in (fleet, zoo, step, generation, blocks, evaluation, lean)}


def run(cfg: DictConfig, command: str) -> list[Result]:
    """Measures bench.only's families; bench.csv holds every finished row. Raises WeightgenError for unknown families."""
    chosen = list(cfg.bench.only) or list(FAMILIES)
    if unknown := set(chosen) - set(FAMILIES):
        raise WeightgenError(f"bench.only has {sorted(unknown)}: use some of {', '.join(FAMILIES)}")
    folder, results = Path(cfg.bench.folder), []
    with TemporaryDirectory() as scratch:
        setting = Setting(cfg, Path(scratch))
        contests = (contest for name in chosen for contest in FAMILIES[name](setting))
        for contest in tqdm(contests, desc="bench", unit=" rows", disable=None, leave=False):
            results.append(measure(contest, cfg.bench.pairs, setting.device, Runtime.of(cfg).machine()["device"]))
            save(folder, cfg, command, results)
            if results[-1].note:
                log.warning("%s was not measured: %s", contest.title, results[-1].note)
    figure(results, folder / "ratios.png")
    return results


def bench(cfg: DictConfig, command: str) -> None:
    """Measures, then prints the table and where it lies."""
    results = run(cfg, command)
    show(results, f"{Runtime.of(cfg).machine()['device']}: ratios above 1 are wins")
    print(f"table: {cfg.bench.folder}/bench.csv, with README.md and ratios.png", flush=True)

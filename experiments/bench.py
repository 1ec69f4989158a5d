"""How fast training, generation and evaluation are, against the plain ways of doing them. `make bench`."""

import logging
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm import tqdm

from experiments.benchmarks.evaluation import evaluation
from experiments.benchmarks.fleet import fleet, zoo
from experiments.benchmarks.generation import blocks, generation
from experiments.benchmarks.problem import Setting
from experiments.benchmarks.report import figure, save, show
from experiments.benchmarks.runner import Result, measure
from experiments.benchmarks.step import lean, step
from experiments.command.app import app
from experiments.reports.runs import device_name
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
            results.append(measure(contest, cfg.bench.pairs, setting.device, device_name(cfg)))
            save(folder, cfg, command, results)
            if results[-1].note:
                log.warning("%s was not measured: %s", contest.title, results[-1].note)
    figure(results, folder / "ratios.png")
    return results


@app
def main(cfg: DictConfig) -> None:
    overrides = shlex.join(HydraConfig.get().overrides.task)
    results = run(cfg, f"python -m experiments.bench {overrides}")
    show(results, f"{device_name(cfg)}: ratios above 1 are wins")
    print(f"table: {cfg.bench.folder}/bench.csv, with README.md and ratios.png", flush=True)


if __name__ == "__main__":
    main()

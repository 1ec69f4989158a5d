"""How fast training, generation and evaluation are, against the plain ways of doing them. `make bench`."""

import shlex

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.benchmarks import suite
from experiments.command.app import app


@app
def main(cfg: DictConfig) -> None:
    suite.bench(cfg, f"python -m experiments.bench {shlex.join(HydraConfig.get().overrides.task)}")


if __name__ == "__main__":
    main()

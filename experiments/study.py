"""Ablation studies: one axis swept with Hydra, gathered into a table, a figure and a README. `make study`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.sweeps import study


@app
def main(cfg: DictConfig) -> object:
    return study.run(cfg)


if __name__ == "__main__":
    main()

"""Ablation studies: one axis swept with Hydra, gathered into a table, a figure and a README. `make study`."""

from omegaconf import DictConfig

from experiments.command.app import app


@app
def main(cfg: DictConfig) -> object:
    from experiments.sweeps import study  # torch and Lightning are imported to work, not to speak

    return study.run(cfg)


if __name__ == "__main__":
    main()

"""Stage 2: the base translator on representative train concepts (E2GAN). `make base`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import base


@app
def main(cfg: DictConfig) -> object:
    return base.run(cfg)


if __name__ == "__main__":
    main()

"""Stage 4: the zoo cut into blocks, with the normaliser of train concepts. `make blocks`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import blocks


@app
def main(cfg: DictConfig) -> object:
    return blocks.run(cfg)


if __name__ == "__main__":
    main()

"""Stage 1: photos, each concept's edited photos. `python -m experiments.collect_pairs` or `make pairs`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import pairs


@app
def main(cfg: DictConfig) -> object:
    return pairs.run(cfg)


if __name__ == "__main__":
    main()

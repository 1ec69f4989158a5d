"""The concepts of a configuration, to look at and to edit; asks a chat model where `concepts=llm`. `make concepts`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import concepts


@app
def main(cfg: DictConfig) -> object:
    return concepts.run(cfg)


if __name__ == "__main__":
    main()

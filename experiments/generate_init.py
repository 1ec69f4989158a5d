"""Stage 6: initial LoRA weights of unseen concepts, by any method. `make init`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import init


@app
def main(cfg: DictConfig) -> object:
    return init.run(cfg)


if __name__ == "__main__":
    main()

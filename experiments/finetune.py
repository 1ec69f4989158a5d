"""Stage 7: fine-tune an initialisation on unseen concepts, measured off the clock. `make finetune`; sweep with -m."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import finetune


@app
def main(cfg: DictConfig) -> object:
    return finetune.run(cfg)


if __name__ == "__main__":
    main()

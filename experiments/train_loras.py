"""Stage 3: one LoRA per train concept, the zoo. `make loras`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import lora


@app
def main(cfg: DictConfig) -> object:
    return lora.run(cfg)


if __name__ == "__main__":
    main()

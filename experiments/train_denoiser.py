"""Stage 5: the weight generator's denoiser on the zoo's blocks. `make denoiser`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.stages import denoiser


@app
def main(cfg: DictConfig) -> object:
    return denoiser.run(cfg)


if __name__ == "__main__":
    main()

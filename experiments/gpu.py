"""What needs a GPU, as one script: benchmarks, `smoke` with every method, a comparison at 128 px. `make gpu`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.command.app import app


@app
def main(cfg: DictConfig) -> None:
    from experiments.benchmarks import gpu  # torch is imported to work, not to speak

    gpu.run(cfg, list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    main()

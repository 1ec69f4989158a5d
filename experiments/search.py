"""Hyper-parameters of the denoiser or the LoRAs by optuna, judged on validation concepts. `make sweep EXP=search_lora`."""

from omegaconf import DictConfig

from experiments.command.app import app


@app
def main(cfg: DictConfig) -> object:
    from experiments.sweeps import search  # torch and Lightning are imported to work, not to speak

    return search.run(cfg)


if __name__ == "__main__":
    main()

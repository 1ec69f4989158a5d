"""Stage 8: every method on every unseen concept and seed, as tables, curves, images and one report. `make evaluate`."""

from omegaconf import DictConfig

from experiments.command.app import app


@app
def main(cfg: DictConfig) -> object:
    from experiments.reports import evaluation  # torch and Lightning are imported to work, not to speak

    return evaluation.run(cfg)


if __name__ == "__main__":
    main()

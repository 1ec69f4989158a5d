"""Stage 5: the weight generator's denoiser on the zoo's blocks. `make denoiser`."""

import logging

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.pipeline.progress import ended

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.generator])
    log.info("%s", ended(pipeline.store, pipeline.generator))


if __name__ == "__main__":
    main()

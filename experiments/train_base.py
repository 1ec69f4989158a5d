"""Stage 2: the base translator on representative train concepts (E2GAN). `make base`."""

import logging

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.pipeline.progress import ended

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.base_spec])
    log.info("%s", ended(pipeline.store, pipeline.base_spec))


if __name__ == "__main__":
    main()

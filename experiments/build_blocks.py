"""Stage 4: the zoo cut into blocks, with the normaliser of train concepts. `make blocks`."""

import logging

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.pipeline.progress import ended

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.blocks])
    log.info("%s", ended(pipeline.store, pipeline.blocks))


if __name__ == "__main__":
    main()

"""The concepts of a configuration, to look at and to edit; asks a chat model where `concepts=llm`. `make concepts`."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.stages.concepts import overview, write_table

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    if pipeline.collected is not None:  # asked for by name, so even with build_missing=false
        pipeline.ensure(pipeline.collected)
        log.info("collected: %s", pipeline.store.metrics(pipeline.collected))
    table = Path(cfg.paths.reports) / cfg.recipe / "concepts.csv"
    write_table(pipeline.concepts, table)
    print(overview(pipeline.concepts))
    log.info("all of them: %s", table)


if __name__ == "__main__":
    main()

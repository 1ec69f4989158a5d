"""Stage 6: initial LoRA weights of unseen concepts, by any method. `make init`."""

import logging

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    specs = [pipeline.init(cfg.init.name, concept, cfg.seed) for concept in pipeline.test_concepts]
    if None in specs:
        log.info("%s starts from scratch: there is nothing to initialise", cfg.init.name)
        return
    pipeline.ensure_all(specs)
    mean = sum(pipeline.store.metrics(spec)["seconds"] for spec in specs) / len(specs)
    log.info("init %s: %d concepts, %.3f s each -> %s", cfg.init.name, len(specs), mean, pipeline.store.root / "init")


if __name__ == "__main__":
    main()

"""Stage 7: fine-tune an initialisation on unseen concepts, measured off the clock. `make finetune`; sweep with -m."""

import logging

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    specs = [pipeline.finetune(cfg.init.name, concept, cfg.seed) for concept in pipeline.test_concepts]
    pipeline.ensure_all(specs)
    for spec in specs:
        row, folder = pipeline.store.metrics(spec), pipeline.store.path(spec)
        scores = row["fid"], row["l1"], row["train_seconds"]
        log.info("%s: fid %.2f, l1 %.4f after %.1f s -> %s", spec.label, *scores, folder)


if __name__ == "__main__":
    main()

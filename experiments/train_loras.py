"""Stage 3: one LoRA per train concept, the zoo. `make loras`."""

import logging

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.pipeline.shards import share
from experiments.stages.lora import summarise

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    specs = {concept.name: pipeline.lora(concept) for concept in share(cfg, pipeline.zoo)}
    pipeline.ensure_all(list(specs.values()))
    told = summarise({name: pipeline.store.metrics(spec) for name, spec in specs.items()})
    log.info("loras: %s -> %s", told, pipeline.store.root / "lora")


if __name__ == "__main__":
    main()

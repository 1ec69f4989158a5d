"""The concepts of a configuration, to look at and to edit; asks a chat model where `concepts=llm`. `make concepts`."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.pipeline.build import Pipeline
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept
from weightgen.data.splits import SPLITS
from weightgen.files import write_rows

log = logging.getLogger(__name__)
SHOWN = 5  # of each split


def build_concepts(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """concepts.json, the list; answers.jsonl, what was answered."""
    return spec.subject.collect(folder)


BUILDERS = {"concepts": build_concepts}


def write_table(concepts: list[Concept], path: Path) -> None:
    """A table that `concepts=file concepts.path=<it>` reads back as it is."""
    rows = [[c.prompt, c.name, c.split, "|".join(c.paraphrases)] for c in concepts]
    write_rows(path, ["prompt", "name", "split", "paraphrases"], rows)


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    if pipeline.collected is not None:  # asked for by name, so even with build_missing=false
        pipeline.ensure(pipeline.collected)
    table = Path(cfg.paths.reports) / cfg.recipe / "concepts.csv"
    write_table(pipeline.concepts, table)
    counts = Counter(concept.split for concept in pipeline.concepts)
    for split in SPLITS:
        some = [concept.prompt for concept in pipeline.split(split)[:SHOWN]]
        print(f"{split:<19} {counts[split]:>4}  {'; '.join(some)}{' ...' if counts[split] > SHOWN else ''}")
    if pipeline.collected is not None:
        log.info("collected: %s", pipeline.store.metrics(pipeline.collected))
    log.info("all of them: %s", table)

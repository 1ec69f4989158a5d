"""Stage 1: photos, each concept's edited photos. `python -m experiments.collect_pairs` or `make pairs`."""

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline


@app
def main(cfg: DictConfig) -> None:
    from experiments.reports.images import pairs_sheet  # it draws: matplotlib is imported to work, not to speak

    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.pairs(concept) for concept in pipeline.concepts])
    pairs_sheet(pipeline)


if __name__ == "__main__":
    main()

"""Stage 5: the weight generator's denoiser on the zoo's blocks; saved in reports/<recipe>/generator. `make denoiser`."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from experiments.command.app import app
from experiments.pipeline.build import Pipeline
from experiments.pipeline.progress import ended
from weightgen.files import file_hash

log = logging.getLogger(__name__)


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.generator])
    folder, built = Path(cfg.paths.reports) / cfg.recipe / "generator", pipeline.store.path(pipeline.generator)
    there, made = (place / "denoiser.safetensors" for place in (folder, built))
    if not there.exists() or file_hash(there) != file_hash(made):  # a comparison's stays, with its figures
        from experiments.reports.export import export_unscored

        export_unscored(pipeline, folder)
    log.info("%s; the weight generator: %s", ended(pipeline.store, pipeline.generator), folder)


if __name__ == "__main__":
    main()

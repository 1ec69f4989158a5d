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
    log.info("%s", ended(pipeline.store, pipeline.generator))
    folder = Path(cfg.paths.reports) / cfg.recipe / "generator"
    there, made = (place / "denoiser.safetensors" for place in (folder, pipeline.store.path(pipeline.generator)))
    if not there.exists() or file_hash(there) != file_hash(made):  # else a comparison's card, with figures, stays
        from experiments.reports.export import export_unscored

        export_unscored(pipeline, folder)
    log.info("the weight generator, for `weightgen --generator`: %s", folder)


if __name__ == "__main__":
    main()

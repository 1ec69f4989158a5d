"""The weight generator of a comparison as a folder that `WeightGenerator.load` needs nothing else for."""

from pathlib import Path

from experiments.pipeline.build import Pipeline
from experiments.pipeline.options import plain
from experiments.stages.init import weight_generator
from weightgen.files import replacing_folder


def export_generator(pipeline: Pipeline, folder: Path) -> None:
    """`WeightGenerator.load(folder)` needs nothing else."""
    cfg = pipeline.cfg
    generator = weight_generator(pipeline)
    text_dim = {"text_dim": generator.encoder.dim}
    layout = generator.blocks.layout
    description = {
        "translator": plain(cfg.translator) | text_dim,
        "denoiser": plain(cfg.denoiser) | {"block_size": layout.size, "blocks": layout.blocks} | text_dim,
        "text_encoder": plain(cfg.text_encoder),
        "lora": plain(cfg.lora),
        "prediction": cfg.budget.denoiser.prediction,
        "steps": cfg.sampler.steps,
    }
    with replacing_folder(folder) as aside:
        generator.save(aside, description)

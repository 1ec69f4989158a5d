"""The weight generator of a comparison as a folder that `WeightGenerator.load` needs nothing else for."""

from pathlib import Path

from experiments.pipeline.build import Pipeline
from experiments.pipeline.stage import Inputs
from experiments.stages.denoiser import block_generator
from experiments.training.payloads import load_base, text_encoder
from weightgen.files import read_json, replacing_folder
from weightgen.generation.generator import WeightGenerator
from weightgen.translation.lora import LoraSpec


def export_generator(pipeline: Pipeline, folder: Path) -> None:
    """`WeightGenerator.load(folder)` needs nothing else."""
    options, network = pipeline.options, pipeline.artifact(pipeline.generator)
    base = pipeline.artifact(pipeline.base_spec)
    parts = Inputs([network, pipeline.artifact(pipeline.blocks)])
    encoder, lora, steps = options("text_encoder"), options("lora"), options("sampler.steps")
    generator = WeightGenerator(load_base(base), LoraSpec(**lora), block_generator(parts, steps), text_encoder(encoder))
    description = {
        "translator": read_json(base.folder / "generator.json"),
        "denoiser": read_json(network.folder / "denoiser.json"),
        "text_encoder": encoder,
        "lora": lora,
        "prediction": network.config["prediction"],
        "steps": steps,
    }
    with replacing_folder(folder) as aside:
        generator.save(aside, description)

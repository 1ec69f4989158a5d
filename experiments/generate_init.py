"""Stage 6: initial LoRA weights of unseen concepts, by any method. `make init`."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from experiments._app import app
from experiments._load import (
    load_base,
    load_blocks,
    lora_spec,
    tensors,
    text_encoder,
    text_features,
)
from experiments.pipeline import Pipeline
from experiments.train_denoiser import new_denoiser
from weightgen.artifacts import Spec
from weightgen.data.concepts import Concept
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.errors import WeightgenError
from weightgen.generator import BlockGenerator, WeightGenerator
from weightgen.inits import WeightSpace
from weightgen.translation.lora import inject_lora, lora_state
from weightgen.weights import BlockLayout

log = logging.getLogger(__name__)


def block_generator(pipeline: Pipeline) -> BlockGenerator:
    """The weight generator of a finished `denoiser` artifact."""
    _, layout, normalizer = load_blocks(pipeline.store.require(pipeline.blocks))
    denoiser = new_denoiser(pipeline, layout)
    denoiser.load_state_dict(tensors(pipeline.store.require(pipeline.denoiser) / "denoiser.safetensors"))
    sampler = Sampler(
        make_scheduler(pipeline.cfg.budget.denoiser.prediction), steps=pipeline.cfg.sampler.steps
    )
    return BlockGenerator(denoiser.eval(), sampler, layout, normalizer)


def weight_generator(pipeline: Pipeline) -> WeightGenerator:
    base = load_base(pipeline, pipeline.store.require(pipeline.base_spec))
    return WeightGenerator(
        base, lora_spec(pipeline.cfg), block_generator(pipeline), text_encoder(pipeline.cfg)
    )


def weight_space(pipeline: Pipeline, needs: str, concept: Concept) -> tuple[WeightSpace, BlockLayout]:
    """What an init of this kind may look at: train concepts; for the ceiling, the concept's own LoRA."""
    base = load_base(pipeline, pipeline.store.require(pipeline.base_spec))
    zero_state = lora_state(inject_lora(base, lora_spec(pipeline.cfg)))
    if needs in ("base", "lora"):
        shapes = {name: tuple(weight.shape) for name, weight in zero_state.items()}
        layout = BlockLayout(shapes, pipeline.cfg.blocks.size, pipeline.cfg.blocks.rule)
        own = layout.to_blocks(own_state(pipeline, concept)) if needs == "lora" else None
        return WeightSpace(layout.to_blocks(zero_state), own=own), layout
    zoo, layout, _ = load_blocks(pipeline.store.require(pipeline.blocks))
    pooled = text_features(pipeline, [entry.prompt for entry in zoo.entries]).pooled
    generator = block_generator(pipeline) if needs == "denoiser" else None
    return WeightSpace(layout.to_blocks(zero_state), zoo.blocks, pooled, generator), layout


def own_state(pipeline: Pipeline, concept: Concept) -> dict[str, torch.Tensor]:
    folder = pipeline.store.require(pipeline.lora(concept))
    if pipeline.store.metrics(pipeline.lora(concept))["diverged"]:
        raise WeightgenError(f"the ceiling LoRA of {concept.name} diverged: lower budget.lora.optimizer.lr")
    return tensors(folder / "lora.safetensors")


def build_init(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """lora.safetensors; metrics.json has the seconds it took, with text encoding, without loading models."""
    method, concept, seed = spec.subject
    init = instantiate({k: v for k, v in OmegaConf.create(pipeline.method(method)).items() if k != "name"})
    space, layout = weight_space(pipeline, init.needs, concept)
    encoder = text_encoder(pipeline.cfg)
    encoder.encode(["warm-up"])
    start = time.perf_counter()
    with torch.no_grad():
        blocks = init(space, encoder.encode([concept.prompt]), torch.Generator().manual_seed(seed))
    seconds = time.perf_counter() - start
    if not bool(torch.isfinite(blocks).all()):
        raise WeightgenError(
            f"{method} produced non-finite weights for {concept.name}: train the denoiser anew"
        )
    save_file({n: w.contiguous() for n, w in layout.from_blocks(blocks).items()}, folder / "lora.safetensors")
    return {"seconds": seconds, "method": method, "concept": concept.name}


BUILDERS = {"init": build_init}


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    specs = [pipeline.init(cfg.init.name, concept, cfg.seed) for concept in pipeline.test_concepts]
    if None in specs:
        log.info("%s starts from scratch: there is nothing to initialise", cfg.init.name)
        return
    pipeline.ensure_all(specs)
    seconds = [pipeline.store.metrics(spec)["seconds"] for spec in specs]
    log.info("init %s: %d concepts, %.3f s each", cfg.init.name, len(specs), sum(seconds) / len(seconds))


if __name__ == "__main__":
    main()

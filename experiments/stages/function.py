"""Stage 5b: the denoiser trained on by what its weights do (budget.function). `make denoiser` runs it where steps > 0."""

import time
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import (
    concept_texts,
    find,
    load_base,
    load_blocks,
    lora_spec,
    pair_tensors,
    tensors,
    train_sources,
)
from experiments.stages.denoiser import SHOWN, new_denoiser, show
from experiments.training.fit import fit, tracked
from weightgen.artifacts import Spec
from weightgen.batches import Batches, Pairs, Texts, concept_batches
from weightgen.data.concepts.concept import Concept
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.files import save_tensors
from weightgen.generation.generator import BlockGenerator
from weightgen.generation.through_base import FunctionSpaceModule
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.zoo import Zoo


def function_batches(
    pipeline: Pipeline, zoo: Zoo, own: Tensor, budget: DictConfig, photos: int
) -> tuple[Batches, list[Concept]]:
    """Batches of `budget.concepts` of the zoo's concepts with `photos` pairs each, and those concepts.

    own: (N, K, D), what the batches carry of each concept's set.
    """
    known = {concept.name: concept for concept in pipeline.split("train")}
    concepts = [known[entry.concept] for entry in zoo.entries]
    text, rows = concept_texts(pipeline, concepts)
    targets = [pair_tensors(pipeline, concept)[1]["train"] for concept in concepts]
    batches = concept_batches(
        Pairs(train_sources(pipeline, concepts), targets),
        Texts(text.tokens, text.mask, rows),
        own,
        budget.concepts,
        photos,
        seed=pipeline.cfg.build_seed,
        steps=budget.steps,
    )
    return batches, concepts


def build_function(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """denoiser.safetensors: the averaged weights after function-space training."""
    cfg, budget, store = pipeline.cfg, pipeline.cfg.budget.function, pipeline.store
    zoo, layout, normalizer = load_blocks(store.require(find(spec, "blocks")))
    own = normalizer.normalize(zoo.blocks) * layout.valid()
    batches, concepts = function_batches(pipeline, zoo, own, budget, budget.photos)
    denoiser = new_denoiser(pipeline, layout, cfg.build_seed)
    if budget.start == "denoiser":
        denoiser.load_state_dict(tensors(store.require(find(spec, "denoiser")) / "denoiser.safetensors"))
    scheduler = make_scheduler(cfg.budget.denoiser.prediction)
    module = FunctionSpaceModule(
        denoiser,
        scheduler,
        StackedLora(load_base(pipeline, store.require(find(spec, "base"))), lora_spec(cfg)),
        layout,
        normalizer,
        instantiate(budget.optimizer),
        weight_loss=budget.weight_loss,
        ema_decay=budget.ema_decay,
        warmup_steps=budget.warmup_steps,
        decay_steps=budget.steps,
        seed=cfg.build_seed,
    )
    start = time.perf_counter()
    with tracked(cfg, spec, folder) as loggers:
        fit(cfg, module, batches, folder, loggers, label="function", parallel="denoiser")
        seconds = time.perf_counter() - start
        averaged = new_denoiser(pipeline, layout)
        averaged.load_state_dict(module.averaged_state())
        generator = BlockGenerator(averaged.eval(), Sampler(scheduler), layout, normalizer)
        metrics = show(pipeline, spec, generator, concepts[:SHOWN], loggers)
    save_tensors(folder / "denoiser.safetensors", averaged.state_dict())
    return {"seconds": seconds, "steps": budget.steps, **metrics}


BUILDERS = {"function": build_function}

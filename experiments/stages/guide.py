"""Stage 5c: the refiner behind `init=guided`, which reads gradients of a few pairs. Built where a method needs it."""

import time
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import find, load_base, load_blocks, lora_spec, seeded, text_encoder
from experiments.stages.denoiser import block_generator
from experiments.stages.function import function_batches
from experiments.training.fit import fit, tracked
from weightgen.artifacts import Spec
from weightgen.files import save_tensors
from weightgen.generation import REFINERS
from weightgen.generation.guided import Guide
from weightgen.generation.guided_training import GuidedModule
from weightgen.translation.lora import inject_lora, lora_state
from weightgen.translation.stacked_lora import StackedLora


def new_guide(pipeline: Pipeline, spec: Spec) -> Guide:
    """An untrained refiner around the base and layout of a `guide` spec."""
    cfg, store = pipeline.cfg, pipeline.store
    _, layout, normalizer = load_blocks(store.require(find(spec, "blocks")))
    size = {"block_size": layout.size, "blocks": layout.blocks, "text_dim": text_encoder(cfg).dim}
    refiner = seeded(cfg.build_seed, REFINERS, cfg.refiner, **size)
    base = load_base(pipeline, store.require(find(spec, "base")))
    return Guide(refiner, StackedLora(base, lora_spec(cfg)), layout, normalizer)


def build_guide(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """refiner.safetensors: its averaged weights."""
    cfg, budget, store = pipeline.cfg, pipeline.cfg.budget.guide, pipeline.store
    zoo, layout, _ = load_blocks(store.require(find(spec, "blocks")))
    batches, _ = function_batches(pipeline, zoo, zoo.blocks, budget, max(budget.pairs) + budget.query)
    guide = new_guide(pipeline, spec)
    zero = inject_lora(load_base(pipeline, store.require(find(spec, "base"))), lora_spec(cfg))
    module = GuidedModule(
        guide,
        block_generator(pipeline),
        layout.to_blocks(lora_state(zero)),
        instantiate(budget.optimizer),
        pairs=list(budget.pairs),
        rounds=budget.rounds,
        query=budget.query,
        foreign=budget.foreign,
        ema_decay=budget.ema_decay,
        warmup_steps=budget.warmup_steps,
        decay_steps=budget.steps,
        seed=cfg.build_seed,
    )
    start = time.perf_counter()
    with tracked(cfg, spec, folder) as loggers:
        fit(cfg, module, batches, folder, loggers, label="guide")
    seconds = time.perf_counter() - start
    save_tensors(folder / "refiner.safetensors", module.averaged.state_dict())
    parameters = sum(p.numel() for p in module.averaged.parameters())
    return {"seconds": seconds, "steps": budget.steps, "parameters": parameters}


BUILDERS = {"guide": build_guide}

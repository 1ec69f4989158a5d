"""Stage 5: the weight generator's denoiser on the zoo's blocks. `make denoiser`."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from torch import nn

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import (
    concept_texts,
    find,
    image_metrics,
    load_base,
    load_blocks,
    lora_spec,
    pair_tensors,
    reference,
    seeded,
    tensors,
    text_encoder,
    text_features,
)
from experiments.training.fit import fit, log_images, log_scores, tracked
from weightgen.artifacts import Spec
from weightgen.batches import Texts
from weightgen.data.concepts.concept import Concept
from weightgen.diffusion import DENOISERS
from weightgen.diffusion.sampler import Sampler, make_scheduler
from weightgen.diffusion.training import BlockDiffusionModule
from weightgen.evaluation.curves import mean
from weightgen.files import save_tensors
from weightgen.generation.generator import BlockGenerator
from weightgen.rng import stream
from weightgen.slices import spread
from weightgen.translation.lora import inject_lora, load_lora_state
from weightgen.translation.training import translate
from weightgen.weights.batches import set_batches
from weightgen.weights.blocks import BlockLayout

log = logging.getLogger(__name__)
SHOWN = 4  # train concepts whose generated translators are logged


def new_denoiser(pipeline: Pipeline, layout: BlockLayout, seed: int = 0) -> nn.Module:
    """An untrained denoiser for a layout."""
    size = {"block_size": layout.size, "blocks": layout.blocks, "text_dim": text_encoder(pipeline.cfg).dim}
    return seeded(seed, DENOISERS, pipeline.cfg.denoiser, **size)


def block_generator(pipeline: Pipeline) -> BlockGenerator:
    """The weight generator of a finished run."""
    _, layout, normalizer = load_blocks(pipeline.store.require(pipeline.blocks))
    denoiser = new_denoiser(pipeline, layout)
    denoiser.load_state_dict(tensors(pipeline.store.require(pipeline.generator) / "denoiser.safetensors"))
    sampler = Sampler(make_scheduler(pipeline.cfg.budget.denoiser.prediction), steps=pipeline.cfg.sampler.steps)
    return BlockGenerator(denoiser.eval(), sampler, layout, normalizer)


def build_denoiser(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """denoiser.safetensors: the averaged weights."""
    cfg, budget = pipeline.cfg, pipeline.cfg.budget.denoiser
    zoo, layout, normalizer = load_blocks(pipeline.store.require(spec.inputs[0]))
    known = {concept.name: concept for concept in pipeline.split("train")}
    text, rows = concept_texts(pipeline, [known[entry.concept] for entry in zoo.entries])
    valid = layout.valid()
    batches = set_batches(
        normalizer.normalize(zoo.blocks) * valid,
        valid,
        Texts(text.tokens, text.mask, rows),
        budget.concepts,
        seed=cfg.build_seed,
        steps=budget.steps,
    )
    module = BlockDiffusionModule(
        new_denoiser(pipeline, layout, cfg.build_seed),
        make_scheduler(budget.prediction),
        instantiate(budget.optimizer),
        ema_decay=budget.ema_decay,
        warmup_steps=budget.warmup_steps,
        decay_steps=budget.steps,
        terminal_fraction=budget.terminal_fraction,
        seed=cfg.build_seed,
    )
    start = time.perf_counter()
    with tracked(cfg, spec, folder) as loggers:
        fit(cfg, module, batches, folder, loggers, label="denoiser", parallel="denoiser")
        seconds = time.perf_counter() - start
        averaged = new_denoiser(pipeline, layout)
        averaged.load_state_dict(module.averaged_state())
        sampler = Sampler(make_scheduler(budget.prediction))
        generator = BlockGenerator(averaged.eval(), sampler, layout, normalizer)
        shown = [known[entry.concept] for entry in zoo.entries[:SHOWN]]
        metrics = show(pipeline, spec, generator, shown, loggers)
    save_tensors(folder / "denoiser.safetensors", averaged.state_dict())
    parameters = sum(p.numel() for p in averaged.parameters())
    return {"seconds": seconds, "steps": budget.steps, "parameters": parameters, **metrics}


def show(
    pipeline: Pipeline, spec: Spec, generate: BlockGenerator, concepts: list[Concept], loggers: list[Logger]
) -> dict[str, float]:
    """Images and scores of generated translators for a few TRAIN concepts: says whether the denoiser learned its own zoo."""
    model = inject_lora(load_base(pipeline, pipeline.store.require(find(spec, "base"))), lora_spec(pipeline.cfg))
    text = text_features(pipeline, [concept.prompt for concept in concepts])
    states = generate.layout.from_blocks(generate(text, stream(0, "denoiser/shown")))
    scores = []
    for i, concept in enumerate(concepts):
        load_lora_state(model, {name: weights[i] for name, weights in states.items()})
        photos, targets = pair_tensors(pipeline, concept)
        prompt = text.select([i])
        outputs = spread(partial(translate, model, tokens=prompt.tokens, text_mask=prompt.mask), photos["test"])
        scores.append(image_metrics(pipeline.cfg)(outputs, reference(pipeline, concept)))
        panels = {"target": targets["test"][:8], "output": outputs[:8]}
        log_images(loggers, spec.config["budget"]["steps"], {f"{concept.name}/{k}": v for k, v in panels.items()})
    metrics = {
        "train_fid": mean((s["fid"] for s in scores), "fid"),
        "train_l1": sum(s["l1"] for s in scores) / len(scores),
    }
    log_scores(
        loggers,
        spec.config["budget"]["steps"],
        {"fid": metrics["train_fid"], "l1": metrics["train_l1"]},
        image_metrics(pipeline.cfg).features.name,
    )
    return metrics


BUILDERS = {"denoiser": build_denoiser}


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.generator])
    log.info("%s %s: %s", pipeline.generator.label, pipeline.generator.key, pipeline.store.metrics(pipeline.generator))

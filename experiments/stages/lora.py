"""Stage 3: one LoRA per train concept, the zoo. `make loras`."""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from torch.nn.functional import l1_loss

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import (
    concept_texts,
    find,
    image_metrics,
    load_base,
    lora_spec,
    pair_tensors,
    reference,
    seeded,
)
from experiments.pipeline.shards import share
from experiments.training.fit import fit, log_images, log_scores, tracked
from weightgen.artifacts import Spec
from weightgen.batches import Pairs, Texts, pair_batches
from weightgen.data.concepts.concept import Concept
from weightgen.files import save_tensors
from weightgen.translation.fleet.members import FleetResult
from weightgen.translation.lora import inject_lora, load_lora_state, lora_state
from weightgen.translation.nets import DISCRIMINATORS
from weightgen.translation.training import TranslatorModule, translate

log = logging.getLogger(__name__)
DIVERGED = 1.5  # times the L1 that the base scores with LoRA at zero


def build_lora(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """lora.safetensors; metrics.json says `diverged` where the weights must not be used (then there are none)."""
    with tracked(pipeline.cfg, spec, folder, tags=[spec.subject.name]) as loggers:
        return publish(pipeline, spec, folder, loggers, train(pipeline, spec, folder, loggers))


def train(pipeline: Pipeline, spec: Spec, folder: Path, loggers: Sequence[Logger]) -> FleetResult:
    """One concept's LoRA by itself; experiments.stages.lora_fleet trains many, to the same weights."""
    cfg, budget, concept = pipeline.cfg, pipeline.cfg.budget.lora, spec.subject
    steps = spec.config["steps"]
    text, rows = concept_texts(pipeline, [concept])
    photos, targets = pair_tensors(pipeline, concept)
    base = load_base(pipeline, pipeline.store.require(find(spec, "base")))
    batches = pair_batches(
        Pairs(photos["train"], [targets["train"]]),
        Texts(text.tokens, text.mask, rows),
        budget.batch_size,
        seed=cfg.build_seed,
        steps=steps,
    )
    module = TranslatorModule(
        inject_lora(base, lora_spec(cfg).starting(concept.prompt)),
        seeded(cfg.build_seed, DISCRIMINATORS, cfg.discriminator) if budget.adversarial else None,
        instantiate(budget.optimizer),
        discriminator_optimizer=instantiate(budget.discriminator_optimizer),
        l1_weight=budget.l1_weight,
        warmup_steps=budget.warmup_steps,
        decay_start=budget.decay_start,
        max_steps=steps,
    )
    start = time.perf_counter()
    fit(cfg, module, batches, folder, loggers, bar=False)
    seconds = time.perf_counter() - start
    state = lora_state(module.generator)
    finite = all(bool(torch.isfinite(weight).all()) for weight in state.values())
    return FleetResult(spec.key, state if finite else None, steps, seconds)


def publish(
    pipeline: Pipeline,
    spec: Spec,
    folder: Path,
    loggers: Sequence[Logger],
    result: FleetResult,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Score and log a trained LoRA on the test photos and save it, unless it diverged; -> metrics.json's content.

    device: where the photos are translated.
    """
    cfg, concept = pipeline.cfg, spec.subject
    prompt = concept_texts(pipeline, [concept])[0].select([0])
    photos, targets = pair_tensors(pipeline, concept)
    base = load_base(pipeline, pipeline.store.require(find(spec, "base")))
    model = inject_lora(base, lora_spec(cfg).starting(concept.prompt)).to(device)
    zero = translate(model, photos["test"], prompt.tokens, prompt.mask)
    l1_zero = float(l1_loss(zero.float(), targets["test"].float())) / 255
    record = {"l1_zero": l1_zero, "steps": result.steps, "seconds": result.seconds}
    if result.state is None:
        return {"diverged": True, **record}
    outputs = translate(load_lora_state(model, result.state), photos["test"], prompt.tokens, prompt.mask)
    scores = image_metrics(cfg)(outputs, reference(pipeline, concept))
    log_scores(loggers, result.steps, scores, image_metrics(cfg).features.name)
    log_images(
        loggers, result.steps, {"source": photos["test"][:8], "target": targets["test"][:8], "output": outputs[:8]}
    )
    diverged = not math.isfinite(scores["l1"]) or scores["l1"] > DIVERGED * l1_zero
    if not diverged:
        save_tensors(folder / "lora.safetensors", result.state)
    return {**scores, "diverged": diverged, **record}


BUILDERS = {"lora": build_lora}


def summarise(pipeline: Pipeline, concepts: list[Concept]) -> str:
    """How many LoRAs there are, how many beat the base at zero LoRA on held-out photos, and which diverged."""
    metrics = {concept.name: pipeline.store.metrics(pipeline.lora(concept)) for concept in concepts}
    diverged = [name for name, row in metrics.items() if row["diverged"]]
    better = sum(row["l1"] < row["l1_zero"] for row in metrics.values() if not row["diverged"])
    excluded = f"; excluded as diverged: {', '.join(diverged)}" if diverged else ""
    return f"{better} of {len(metrics)} LoRAs beat the base at zero LoRA on held-out L1{excluded}"


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    concepts = share(cfg, pipeline.split("train"))
    pipeline.ensure_all([pipeline.lora(concept) for concept in concepts])
    log.info("loras: %s", summarise(pipeline, concepts))

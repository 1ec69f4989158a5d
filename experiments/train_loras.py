"""Stage 3: one LoRA per train concept, the zoo. `make loras`."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch.nn.functional import l1_loss

from experiments._app import app
from experiments._load import (
    concept_texts,
    find,
    image_metrics,
    load_base,
    lora_spec,
    pair_tensors,
    reference,
    seeded,
)
from experiments._training import fit, log_images, log_scores, tracked
from experiments.pipeline import Pipeline
from weightgen.artifacts import Spec
from weightgen.data.concepts import Concept
from weightgen.data.pairs import PairBatches
from weightgen.translation import TranslatorModule, inject_lora, lora_state
from weightgen.translation.module import translate

log = logging.getLogger(__name__)
DIVERGED = 1.5  # times the L1 that the base scores with LoRA at zero


def build_lora(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """lora.safetensors; metrics.json says `diverged` where the weights must not be used (then there are none)."""
    cfg, budget, concept = pipeline.cfg, pipeline.cfg.budget.lora, spec.subject
    steps = spec.config["steps"]
    text, rows = concept_texts(pipeline, [concept])
    photos, targets = pair_tensors(pipeline, concept)
    base = load_base(pipeline, pipeline.store.require(find(spec, "base")))
    model = inject_lora(base, lora_spec(cfg).starting(concept.prompt))
    prompt = text.select([0])
    zero = translate(model, photos["test"], prompt.tokens, prompt.mask)
    l1_zero = float(l1_loss(zero.float(), targets["test"].float())) / 255
    batches = PairBatches(
        photos["train"],
        [targets["train"]],
        text.tokens,
        text.mask,
        rows,
        budget.batch_size,
        seed=cfg.build_seed,
        steps=steps,
    )
    module = TranslatorModule(
        model,
        seeded(cfg.build_seed, cfg.discriminator) if budget.adversarial else None,
        instantiate(budget.optimizer),
        discriminator_optimizer=instantiate(budget.discriminator_optimizer),
        l1_weight=budget.l1_weight,
        warmup_steps=budget.warmup_steps,
        decay_start=budget.decay_start,
        max_steps=steps,
    )
    start = time.perf_counter()
    with tracked(cfg, spec, folder, tags=[concept.name]) as loggers:
        fit(cfg, module, batches, folder, loggers, bar=False)
        seconds = time.perf_counter() - start
        state = lora_state(module.generator)
        if not all(bool(torch.isfinite(weight).all()) for weight in state.values()):
            return {"diverged": True, "l1_zero": l1_zero, "steps": steps, "seconds": seconds}
        outputs = module.translate(photos["test"], prompt.tokens, prompt.mask)
        scores = image_metrics(cfg)(outputs, reference(pipeline, concept))
        log_scores(loggers, steps, scores, image_metrics(cfg).features.name)
        log_images(
            loggers,
            steps,
            {"source": photos["test"][:8], "target": targets["test"][:8], "output": outputs[:8]},
        )
    diverged = not math.isfinite(scores["l1"]) or scores["l1"] > DIVERGED * l1_zero
    if not diverged:
        save_file(state, folder / "lora.safetensors")
    return {**scores, "diverged": diverged, "l1_zero": l1_zero, "steps": steps, "seconds": seconds}


BUILDERS = {"lora": build_lora}


def summarise(pipeline: Pipeline, concepts: list[Concept]) -> str:
    """How many LoRAs there are, how many beat the base at zero LoRA on held-out photos, and which diverged."""
    metrics = {concept.name: pipeline.store.metrics(pipeline.lora(concept)) for concept in concepts}
    diverged = [name for name, row in metrics.items() if row["diverged"]]
    better = sum(row["l1"] < row["l1_zero"] for row in metrics.values() if not row["diverged"])
    excluded = f"; excluded as diverged: {', '.join(diverged)}" if diverged else ""
    return f"{better} of {len(metrics)} LoRAs beat the base at zero LoRA on held-out L1{excluded}"


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    concepts = pipeline.split("train")
    pipeline.ensure_all([pipeline.lora(concept) for concept in concepts])
    log.info("loras: %s", summarise(pipeline, concepts))


if __name__ == "__main__":
    main()

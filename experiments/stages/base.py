"""Stage 2: the base translator on representative train concepts (E2GAN). `make base`."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import (
    concept_texts,
    image_metrics,
    new_translator,
    pair_tensors,
    reference,
    seeded,
    train_sources,
)
from experiments.stages import subset as _subset
from experiments.training.fit import fit, log_images, log_scores, tracked
from weightgen.artifacts import Spec
from weightgen.batches import Pairs, Texts, pair_batches
from weightgen.data.representative import representative
from weightgen.files import save_tensors, write_json
from weightgen.slices import spread
from weightgen.translation.nets import DISCRIMINATORS
from weightgen.translation.training import TranslatorModule

log = logging.getLogger(__name__)
SHOWN = 4  # concepts whose images are logged and scored


def build_base(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """generator.safetensors, discriminator.safetensors, concepts.json: which train concepts it saw."""
    cfg, budget = pipeline.cfg, OmegaConf.create(spec.config["budget"])
    train = pipeline.split("train")
    text, rows = concept_texts(pipeline, train)
    chosen = list(range(len(train)))
    if spec.config["sees"] == "representative":
        pooled = text.pooled[[row[0] for row in rows]]
        count = _subset.concepts(cfg, len(train), budget.concepts)
        chosen = representative(pooled, count, cfg.build_seed)
    concepts = [train[i] for i in chosen]
    targets = [pair_tensors(pipeline, concept)[1]["train"] for concept in concepts]
    sources = train_sources(pipeline, concepts)
    if (used := _subset.train_rows(cfg, pipeline.store, pipeline.photos, sources)) is not None:
        sources, targets = sources[used], [target[used] for target in targets]
    batches = pair_batches(
        Pairs(sources, targets),
        Texts(text.tokens, text.mask, [rows[i] for i in chosen]),
        budget.batch_size,
        seed=cfg.build_seed,
        steps=budget.steps,
    )
    module = TranslatorModule(
        new_translator(pipeline, cfg.build_seed),
        seeded(cfg.build_seed, DISCRIMINATORS, cfg.discriminator) if budget.adversarial else None,
        instantiate(budget.optimizer),
        discriminator_optimizer=instantiate(budget.discriminator_optimizer),
        l1_weight=budget.l1_weight,
        warmup_steps=budget.warmup_steps,
        decay_start=budget.decay_start,
        max_steps=budget.steps,
    )
    start = time.perf_counter()
    with tracked(cfg, spec, folder, tags=[c.name for c in concepts[:8]]) as loggers:
        fit(cfg, module, batches, folder, loggers, label=f"base ({len(concepts)} concepts)", parallel="base")
        seconds = time.perf_counter() - start
        scores = []
        for i, concept in enumerate(concepts[:SHOWN]):
            prompt = text.select([rows[chosen[i]][0]])
            photos, target = (side["test"] for side in pair_tensors(pipeline, concept))
            outputs = spread(partial(module.translate, tokens=prompt.tokens, text_mask=prompt.mask), photos)
            scores.append(image_metrics(cfg)(outputs, reference(pipeline, concept)))
            log_images(
                loggers, budget.steps, {f"{concept.name}/target": target[:8], f"{concept.name}/output": outputs[:8]}
            )
        metrics = {name: sum(score[name] for score in scores) / len(scores) for name in scores[0]}
        log_scores(loggers, budget.steps, metrics, image_metrics(cfg).features.name)
    save_tensors(folder / "generator.safetensors", module.generator.state_dict())
    if module.discriminator is not None:
        save_tensors(folder / "discriminator.safetensors", module.discriminator.state_dict())
    write_json(folder / "concepts.json", [concept.name for concept in concepts])
    write_json(folder / "inputs.json", [pipeline.pairs(concept).reference() for concept in concepts])
    parameters = sum(p.numel() for p in module.generator.parameters())
    return {**metrics, "seconds": seconds, "steps": budget.steps, "concepts": len(concepts), "parameters": parameters}


BUILDERS = {"base": build_base}


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.base_spec])
    log.info("base %s: %s", pipeline.base_spec.key, pipeline.store.metrics(pipeline.base_spec))

"""Stage 7: fine-tune an initialisation on unseen concepts, measured off the clock. `make finetune`; sweep with -m."""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import (
    find,
    image_metrics,
    load_base,
    lora_spec,
    pair_tensors,
    reference,
    seeded,
    tensors,
    text_features,
    training_pairs,
)
from experiments.stages import subset as _subset
from experiments.training.fit import fit, log_images, log_scores, tracked
from weightgen.artifacts import Spec
from weightgen.batches import Pairs, Texts, pair_batches
from weightgen.evaluation.callback import EvaluationCallback
from weightgen.files import save_tensors, write_json
from weightgen.translation.lora import inject_lora, load_lora_state, lora_state, merge_lora
from weightgen.translation.nets import DISCRIMINATORS, TRANSLATORS
from weightgen.translation.training import FineTuneModule

log = logging.getLogger(__name__)
SAMPLES = 4  # test images kept for the grid


def initial_model(pipeline: Pipeline, spec: Spec, init: Spec | None) -> tuple[nn.Module, float]:
    """The translator that training starts from, and the seconds its initialisation took."""
    cfg, seed = pipeline.cfg, spec.subject[2]
    if init is None:
        return seeded(seed, TRANSLATORS, spec.config["scratch"]), 0.0
    base = load_base(pipeline, pipeline.store.require(find(init, "base")))
    state = tensors(pipeline.store.require(init) / "lora.safetensors")
    model = load_lora_state(inject_lora(base, lora_spec(cfg)), state)
    if spec.config["budget"]["trainable"] == "all":
        model = merge_lora(model)
    spent = pipeline.store.metrics(init)
    cpu = spec.config["budget"]["clock"] == "cpu" and "cpu_seconds" in spent  # older artifacts have no CPU time
    return model, spent["cpu_seconds" if cpu else "seconds"]


def new_discriminator(pipeline: Pipeline, spec: Spec, init: Spec | None) -> nn.Module | None:
    """Fresh weights by seed, or the base's (budget `discriminator: base`)."""
    budget = spec.config["budget"]
    if not budget["adversarial"]:
        return None
    discriminator = seeded(spec.subject[2], DISCRIMINATORS, pipeline.cfg.discriminator)
    if init is not None and budget["discriminator"] == "base":
        base = pipeline.store.require(find(init, "base"))
        discriminator.load_state_dict(tensors(base / "discriminator.safetensors"))
    return discriminator


def build_finetune(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """rows.json (one per evaluation point), samples.safetensors (outputs at the first and last), the trained weights."""
    cfg, budget = pipeline.cfg, spec.config["budget"]
    method, concept, seed = spec.subject
    init = next((upstream for upstream in spec.inputs if upstream.stage == "init"), None)
    text = text_features(pipeline, [concept.prompt])
    photos, targets = pair_tensors(pipeline, concept)
    sources, edited = photos["train"], targets["train"]
    if "pairs" in spec.config:
        sources, edited = training_pairs(pipeline, concept, seed)
    elif (rows := _subset.train_rows(cfg, pipeline.store, pipeline.photos, sources)) is not None:
        sources, edited = sources[rows], edited[rows]
    pairs, texts = Pairs(sources, [edited]), Texts(text.tokens, text.mask, [[0]])
    batches = pair_batches(pairs, texts, budget["batch_size"], seed=seed, steps=budget["steps"])
    model, seconds = initial_model(pipeline, spec, init)
    module = FineTuneModule(
        model,
        new_discriminator(pipeline, spec, init),
        instantiate(budget["optimizer"]),
        discriminator_optimizer=instantiate(budget["discriminator_optimizer"]),
        l1_weight=budget["l1_weight"],
        warmup_steps=budget["warmup_steps"],
        decay_start=budget["decay_start"],
        max_steps=budget["steps"],
        init_seconds=seconds,
        clock=budget["clock"],
    )
    metrics, target = image_metrics(cfg), reference(pipeline, concept)

    def measure(module: FineTuneModule) -> tuple[dict[str, float], Tensor]:
        outputs = module.translate(photos["test"], text.tokens, text.mask)
        return metrics(outputs, target), outputs[:SAMPLES]

    with tracked(cfg, spec, folder, tags=[method, concept.name, concept.split]) as loggers:

        def report(step: int, row: dict[str, float], images: Tensor) -> None:
            log_scores(loggers, step, {k: v for k, v in row.items() if k != "step"}, metrics.features.name)
            if step in (0, budget["steps"]):
                panels = {"source": photos["test"], "target": targets["test"], "output": images}
                log_images(loggers, step, {name: panel[:SAMPLES] for name, panel in panels.items()})

        points = {point for point in budget["points"] if point < budget["steps"]} | {0, budget["steps"]}
        evaluation = EvaluationCallback(sorted(points), measure, report)
        fit(cfg, module, batches, folder, loggers, [evaluation], bar=False)
    write_json(folder / "rows.json", evaluation.rows)
    samples = {"start": evaluation.samples[0], "end": evaluation.samples[budget["steps"]]}
    save_tensors(folder / "samples.safetensors", {name: images.clone() for name, images in samples.items()})
    lora = init is not None and budget["trainable"] == "lora"
    state = lora_state(module.generator) if lora else module.generator.state_dict()
    save_tensors(folder / ("lora.safetensors" if lora else "generator.safetensors"), state)
    return evaluation.rows[-1]


BUILDERS = {"finetune": build_finetune}


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    specs = [pipeline.finetune(cfg.init.name, concept, cfg.seed) for concept in pipeline.test_concepts]
    pipeline.ensure_all(specs)
    for spec in specs:
        row = pipeline.store.metrics(spec)
        log.info("%s: fid %.2f, l1 %.4f after %.1f s", spec.label, row["fid"], row["l1"], row["train_seconds"])

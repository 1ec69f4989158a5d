"""Stage 6: initial LoRA weights of unseen concepts, by any method. `make init`."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import (
    find,
    load_base,
    load_blocks,
    lora_spec,
    tensors,
    text_encoder,
    text_features,
    training_pairs,
)
from experiments.stages.denoiser import block_generator
from experiments.stages.guide import new_guide
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.errors import WeightgenError
from weightgen.files import save_tensors
from weightgen.generation.generator import WeightGenerator
from weightgen.generation.guided import Guide
from weightgen.generation.pairs_loss import Evidence
from weightgen.inits import INITS
from weightgen.inits.base import WeightSpace
from weightgen.rng import stream
from weightgen.translation.lora import inject_lora, lora_state
from weightgen.weights.blocks import BlockLayout

log = logging.getLogger(__name__)


def weight_generator(pipeline: Pipeline) -> WeightGenerator:
    base = load_base(pipeline, pipeline.store.require(pipeline.base_spec))
    return WeightGenerator(base, lora_spec(pipeline.cfg), block_generator(pipeline), text_encoder(pipeline.cfg))


def weight_space(pipeline: Pipeline, spec: Spec) -> tuple[WeightSpace, BlockLayout]:
    """What an init (or a fit) may look at: exactly what its spec names as inputs."""
    cfg, store = pipeline.cfg, pipeline.store
    model = inject_lora(load_base(pipeline, store.require(find(spec, "base"))), lora_spec(cfg))
    state = lora_state(model)
    layout = BlockLayout({n: tuple(w.shape) for n, w in state.items()}, cfg.blocks.size, cfg.blocks.rule)
    given: dict[str, Any] = {"zero": layout.to_blocks(state)}
    stages = {upstream.stage for upstream in spec.inputs}
    if stages & {"blocks", "denoiser", "function"}:
        zoo, layout, _ = load_blocks(store.require(find(spec, "blocks")))
        given["blocks"] = zoo.blocks
        given["pooled"] = text_features(pipeline, [entry.prompt for entry in zoo.entries]).pooled
    loras = [upstream for upstream in spec.inputs if upstream.stage == "lora"]
    if spec.stage == "fit":
        given |= validation_space(pipeline, layout, loras)
    elif loras:
        given["own"] = layout.to_blocks(trained_state(pipeline, loras[0]))
    if stages & {"denoiser", "function"}:
        given["generator"] = block_generator(pipeline)
    if "fit" in stages:
        given["fitted"] = tensors(store.require(find(spec, "fit")) / "fit.safetensors")
    if "guide" in stages:
        given["guide"] = load_guide(pipeline, find(spec, "guide"))
    if "pairs" in stages:
        given["evidence"] = evidence(pipeline, spec, model, layout)
    return WeightSpace(**given), layout


def load_guide(pipeline: Pipeline, spec: Spec) -> Guide:
    """The trained refiner with the base that it looks through."""
    guide = new_guide(pipeline, spec)
    guide.refiner.load_state_dict(tensors(pipeline.store.require(spec) / "refiner.safetensors"))
    return guide.eval().requires_grad_(False)


def validation_space(pipeline: Pipeline, layout: BlockLayout, loras: list[Spec]) -> dict[str, torch.Tensor]:
    """Sets and text of validation concepts, those left out whose LoRA diverged."""
    kept = [lora for lora in loras if not pipeline.store.metrics(lora)["diverged"]]
    if not kept:
        return {}
    blocks = [layout.to_blocks(trained_state(pipeline, lora)) for lora in kept]
    pooled = text_features(pipeline, [lora.subject.prompt for lora in kept]).pooled
    return {"validation_blocks": torch.stack(blocks), "validation_pooled": pooled}


def evidence(pipeline: Pipeline, spec: Spec, model: nn.Module, layout: BlockLayout) -> Evidence:
    """The concept's training pairs in the order that the run's seed draws."""
    _, concept, seed = spec.subject
    source, target = training_pairs(pipeline, concept, seed)
    return Evidence(source, target, model, layout, text_features(pipeline, [concept.prompt]))


def trained_state(pipeline: Pipeline, lora: Spec) -> dict[str, torch.Tensor]:
    folder = pipeline.store.require(lora)
    if pipeline.store.metrics(lora)["diverged"]:
        raise WeightgenError(f"the LoRA of {lora.subject.name} diverged: lower budget.lora.optimizer.lr")
    return tensors(folder / "lora.safetensors")


def new_init(pipeline: Pipeline, method: str) -> Any:
    options = pipeline.method(method)
    arguments = {key: value for key, value in options.items() if key != "kind"}
    return make(INITS, arguments | {"name": options["kind"]})


def build_fit(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """fit.safetensors: a regression from text to weights."""
    space, _ = weight_space(pipeline, spec)
    start = time.perf_counter()
    with torch.no_grad():
        fitted = new_init(pipeline, spec.subject).fit(space, spec.config["seed"])
    save_tensors(folder / "fit.safetensors", fitted)
    scalars = {name: float(value) for name, value in fitted.items() if value.numel() == 1}
    return {"seconds": time.perf_counter() - start, **scalars}


def build_init(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """lora.safetensors; metrics.json has the seconds it took, text encoding included, loading of models not: by the wall's
    clock, and by this process's CPU time, which other load on the machine does not stretch."""
    method, concept, seed = spec.subject
    init = new_init(pipeline, method)
    space, layout = weight_space(pipeline, spec)
    encoder = text_encoder(pipeline.cfg)
    encoder.encode(["warm-up"])
    start, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        text = encoder.encode([spec.config["prompt"]])
        blocks = init(space, text, stream(seed, "init/noise"))
    spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    if not bool(torch.isfinite(blocks).all()):
        raise WeightgenError(f"{method} produced non-finite weights for {concept.name}: train the denoiser anew")
    save_tensors(folder / "lora.safetensors", layout.from_blocks(blocks))
    return {**spent, "method": method, "concept": concept.name}


BUILDERS = {"init": build_init, "fit": build_fit}


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    specs = [pipeline.init(cfg.init.name, concept, cfg.seed) for concept in pipeline.test_concepts]
    if None in specs:
        log.info("%s starts from scratch: there is nothing to initialise", cfg.init.name)
        return
    pipeline.ensure_all(specs)
    seconds = [pipeline.store.metrics(spec)["seconds"] for spec in specs]
    log.info("init %s: %d concepts, %.3f s each", cfg.init.name, len(specs), sum(seconds) / len(seconds))

"""Stage 4: the zoo cut into blocks, with the normaliser of train concepts. `make blocks`."""

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import find, tensors
from weightgen.artifacts import Spec
from weightgen.files import save_tensors, write_json
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer
from weightgen.weights.zoo import Zoo, ZooEntry

log = logging.getLogger(__name__)
SCORES = ("l1", "l1_zero", "fid", "kid", "perceptual")


def build_blocks(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """zoo.{json,safetensors}, layout.json, normalizer.safetensors."""
    cfg, store = pipeline.cfg, pipeline.store
    kept = {lora: store.metrics(lora) for lora in spec.inputs}
    excluded = [lora.subject.name for lora, metrics in kept.items() if metrics["diverged"]]
    kept = {lora: metrics for lora, metrics in kept.items() if not metrics["diverged"]}
    states = {lora: tensors(store.require(lora) / "lora.safetensors") for lora in kept}
    shapes = {name: tuple(weight.shape) for name, weight in next(iter(states.values())).items()} if states else {}
    layout = BlockLayout(shapes, cfg.blocks.size, cfg.blocks.rule)
    entries = [
        ZooEntry(
            concept=lora.subject.name,
            prompt=lora.subject.prompt,
            split=lora.subject.split,
            seed=lora.config["seed"],
            steps=lora.config["steps"],
            base=find(lora, "base").key,
            layout=layout.hash(),
            metrics={name: metrics[name] for name in SCORES},
        )
        for lora, metrics in kept.items()
    ]
    zoo = Zoo.collect(entries, [layout.to_blocks(state) for state in states.values()])
    zoo.save(folder)
    normalizer = Normalizer.fit(zoo.blocks, layout.valid())
    save_tensors(folder / "normalizer.safetensors", normalizer.state())
    write_json(folder / "layout.json", layout.to_json())
    write_json(folder / "excluded.json", excluded)
    spread = torch.where(layout.valid(), normalizer.normalize(zoo.blocks), 0.0)
    return {
        "concepts": len(entries),
        "excluded": len(excluded),
        "blocks": layout.blocks,
        "weights": layout.weights,
        "padding": 1 - layout.weights / (layout.blocks * layout.size),
        "rms": float(spread.square().sum() / (layout.weights * len(entries))) ** 0.5,
    }


BUILDERS = {"blocks": build_blocks}


def run(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.blocks])
    log.info("blocks %s: %s", pipeline.blocks.key, pipeline.store.metrics(pipeline.blocks))

"""Histograms of weight sets, layer by layer: what the zoo holds, and what the weight generator makes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.pipeline.load import load_blocks, tensors
from experiments.pipeline.build import Pipeline
from weightgen.evaluation.methods import OURS

BINS = 41


def layer_histograms(zoo: dict[str, Tensor], generated: dict[str, Tensor]) -> list[dict[str, Any]]:
    """zoo, generated: layer -> (sets, *shape) -> a dict per layer: layer, shape, range, and for both the shares of
    weights in each of BINS equal bins over [-range, range] (values beyond count at its ends) and the RMS.

    range: the 99.5 % quantile of |weight| in the zoo.
    """
    return [
        {
            "layer": layer,
            "shape": list(weights.shape[1:]),
            "range": (limit := _limit(weights)),
            "zoo": _shares(weights, limit),
            "zoo_rms": _rms(weights),
            "generated": _shares(generated[layer], limit) if layer in generated else None,
            "generated_rms": _rms(generated[layer]) if layer in generated else None,
        }
        for layer, weights in zoo.items()
    ]


def weight_sets(pipeline: Pipeline) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(zoo, generated): layer -> (sets, *shape), of what is finished; ({}, {}) without blocks."""
    store = pipeline.store
    if not store.has(pipeline.blocks):
        return {}, {}
    zoo, layout, _ = load_blocks(store.require(pipeline.blocks))
    specs = (
        [pipeline.init(OURS, c, seed) for c in pipeline.test_concepts for seed in pipeline.cfg.seeds]
        if OURS in pipeline.methods
        else []
    )
    states = [tensors(store.require(s) / "lora.safetensors") for s in specs if store.has(s)]
    made = {name: torch.stack([state[name] for state in states]) for name in layout.shapes} if states else {}
    return layout.from_blocks(zoo.blocks), made


def _limit(weights: Tensor) -> float:
    return float(np.quantile(np.abs(weights.numpy()), 0.995)) or 1.0


def _shares(weights: Tensor, limit: float) -> list[float]:
    values = np.clip(weights.numpy().ravel(), -limit, limit)
    counts, _ = np.histogram(values, bins=BINS, range=(-limit, limit))
    return [round(float(count) / values.size, 6) for count in counts]


def _rms(weights: Tensor) -> float:
    return float(weights.float().square().mean().sqrt())

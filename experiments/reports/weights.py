"""Histograms of weight sets, layer by layer: what the zoo holds, and what the weight generator makes."""

from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from experiments.reports.comparison import Comparison
from experiments.training.payloads import load_blocks

BINS = 41


def weight_histograms(comparison: Comparison) -> list[dict[str, Any]]:
    """`layer_histograms` of the weight sets that a comparison refers to; [] without a zoo."""
    if comparison.zoo is None:
        return []
    zoo, layout, _ = load_blocks(comparison.zoo.folder)
    states = [load_file(path) for path in comparison.generated]
    generated = {name: torch.stack([state[name] for state in states]) for name in layout.shapes} if states else {}
    return layer_histograms(layout.from_blocks(zoo.blocks), generated)


def layer_histograms(zoo: dict[str, Tensor], generated: dict[str, Tensor]) -> list[dict[str, Any]]:
    """zoo, generated: layer -> (sets, *shape) -> a dict per layer: layer, shape, range, and for both the shares of
    weights in each of BINS equal bins over [-range, range] (values beyond count at its ends) and the RMS.

    range: the 99.5 % quantile of |weight| in the zoo.
    """
    layers = []
    for layer, weights in zoo.items():
        limit = float(np.quantile(np.abs(weights.numpy()), 0.995)) or 1.0
        row = {"layer": layer, "shape": list(weights.shape[1:]), "range": limit}
        for whose, sets in (("zoo", weights), ("generated", generated.get(layer))):
            row[whose] = None if sets is None else _shares(sets, limit)
            row[f"{whose}_rms"] = None if sets is None else float(sets.float().square().mean().sqrt())
        layers.append(row)
    return layers


def _shares(weights: Tensor, limit: float) -> list[float]:
    values = np.clip(weights.numpy().ravel(), -limit, limit)
    counts, _ = np.histogram(values, bins=BINS, range=(-limit, limit))
    return [round(float(count) / values.size, 6) for count in counts]

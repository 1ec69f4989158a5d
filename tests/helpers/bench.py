"""A tiny configuration of the benchmarks, and sides that take what they are told."""

import itertools

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.benchmarks.runner import Side
from tests.helpers.configs import composed

CPU = torch.device("cpu")
TINY = [
    "translator={name: e2gan, width: 8, heads: 2, resnet_blocks: 1}",
    "discriminator={name: patchgan, width: 8, layers: 1}",
    "lora.ranks={down: 1, up: 1}",
    # per layer r (in k^2 + out): 88 + 176 of down, 4 * 64 + (64 + 416 + 416 + 64) + 288 + 160 of the transformer
    "bench.generation.lora.ranks={down: 1, transformer: 1}",
    "denoiser={name: joint, width: 8, layers: 1, heads: 2, rank: 1}",
    "bench.single={name: unet1d, width: 8, levels: 1, heads: 2, rank: 1}",
    "bench={pairs: 1, sizes: [16], photos: 4, blocks: [1, 2]}",
    "bench.fleet={concepts: [2], steps: 1, solo: 1}",
    "bench.zoo={concepts: [1, 2], steps: 1, fleet: 1}",
    "bench.step.steps=1",
    "bench.generation={steps: 2, concepts: 2}",
    "bench.evaluation.images=2",
    "bench.lean={options: [channels_last+bf16, fused], steps: 1}",
]


def configured(*overrides: str) -> DictConfig:
    cfg = composed("experiment=bench", *(line for line in overrides if "{" not in line))
    for line in overrides:
        if "{" in line:
            name, _, value = line.partition("=")
            new = OmegaConf.create(value)
            OmegaConf.update(
                cfg, name, new, merge="name" not in value and "_target_" not in value and "ranks" not in name
            )
    return cfg


def tiny(*overrides: str) -> DictConfig:
    return configured("strategy.workers=1", *TINY, *overrides)


def fake(*seconds: float, work: float = 1.0) -> Side:
    given = itertools.chain(seconds)
    return Side(lambda: next(given), work)

"""Scoring a translator's images, with what the targets contribute computed once and kept, or every time."""

from collections.abc import Iterator
from functools import partial

import torch

from experiments.benchmarks.problem import Problem, Setting
from experiments.benchmarks.runner import Contest, Side
from experiments.pipeline.options import plain
from weightgen.choices import make
from weightgen.evaluation import FEATURES
from weightgen.evaluation.metrics import ImageMetrics


def evaluation(setting: Setting) -> Iterator[Contest]:
    """Seconds of all scores of one set of images."""
    options = setting.cfg.bench.evaluation
    features = make(FEATURES, plain(setting.cfg.metrics)).to(setting.device)
    metrics = ImageMetrics(features)
    for size in setting.cfg.bench.sizes:
        work = Problem(setting.cfg, size)
        rows = torch.arange(options.images) % len(work.photos)
        targets, outputs = work.targets(0)[rows], work.photos[rows]
        kept = metrics.reference(targets)
        runs = (
            lambda targets=targets, outputs=outputs: metrics(outputs, metrics.reference(targets)),
            lambda kept=kept, outputs=outputs: metrics(outputs, kept),
        )
        sides = (Side(partial(setting.clock, run)) for run in runs)
        yield Contest(f"evaluation cached {options.images} images {size} px", "s", *sides)

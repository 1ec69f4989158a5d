"""Stage 5: the weight generator's denoiser on the zoo's blocks. `make denoiser`."""

import logging
import time
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import nn

from experiments._app import app
from experiments._load import concept_texts, load_blocks, seeded, text_encoder
from experiments._training import fit, tracked
from experiments.pipeline import Pipeline
from weightgen.artifacts import Spec
from weightgen.diffusion.module import BlockDiffusionModule
from weightgen.diffusion.sampler import make_scheduler
from weightgen.generator import contiguous
from weightgen.weights import BlockLayout, ZooBatches

log = logging.getLogger(__name__)


def new_denoiser(pipeline: Pipeline, layout: BlockLayout, seed: int = 0) -> nn.Module:
    """An untrained denoiser for a layout."""
    size = {"block_size": layout.size, "blocks": layout.blocks, "text_dim": text_encoder(pipeline.cfg).dim}
    return seeded(seed, pipeline.cfg.denoiser, **size)


def build_denoiser(pipeline: Pipeline, spec: Spec, folder: Path) -> dict[str, Any]:
    """denoiser.safetensors: the averaged weights."""
    cfg, budget = pipeline.cfg, pipeline.cfg.budget.denoiser
    zoo, layout, normalizer = load_blocks(pipeline.store.require(spec.inputs[0]))
    known = {concept.name: concept for concept in pipeline.split("train")}
    text, rows = concept_texts(pipeline, [known[entry.concept] for entry in zoo.entries])
    valid = layout.valid()
    batches = ZooBatches(
        normalizer.normalize(zoo.blocks) * valid,
        valid,
        text.tokens,
        text.mask,
        rows,
        budget.concepts,
        budget.blocks,
        seed=cfg.build_seed,
        steps=budget.steps,
    )
    module = BlockDiffusionModule(
        new_denoiser(pipeline, layout, cfg.build_seed),
        make_scheduler(budget.prediction),
        instantiate(budget.optimizer),
        ema_decay=budget.ema_decay,
        warmup_steps=budget.warmup_steps,
        decay_steps=budget.steps,
        terminal_fraction=budget.terminal_fraction,
        seed=cfg.build_seed,
    )
    start = time.perf_counter()
    with tracked(cfg, spec, folder) as loggers:
        fit(cfg, module, batches, folder, loggers, label="denoiser")
    save_file(contiguous(module.averaged.state_dict()), folder / "denoiser.safetensors")
    parameters = sum(p.numel() for p in module.denoiser.parameters())
    return {"seconds": time.perf_counter() - start, "steps": budget.steps, "parameters": parameters}


BUILDERS = {"denoiser": build_denoiser}


@app
def main(cfg: DictConfig) -> None:
    pipeline = Pipeline(cfg)
    pipeline.ensure_all([pipeline.denoiser])
    log.info("denoiser %s: %s", pipeline.denoiser.key, pipeline.store.metrics(pipeline.denoiser))


if __name__ == "__main__":
    main()

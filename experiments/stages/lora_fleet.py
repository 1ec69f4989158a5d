"""LoRAs of one base trained at once (fleet.size > 1), each published as an artifact of its own when it is finished."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from torch import Tensor
from tqdm import tqdm

from experiments.pipeline.build import Pipeline
from experiments.pipeline.load import TrainPairs, concept_texts, find, load_base, lora_spec, seeded, train_sources
from experiments.stages.fleet_folders import FleetFolders
from experiments.stages.lora import publish
from experiments.training.fit import fit, tracked
from weightgen.artifacts import Spec
from weightgen.batches import Texts
from weightgen.translation.fleet.batches import FleetBatches
from weightgen.translation.fleet.members import FleetResult
from weightgen.translation.fleet.training import FleetModule, FleetSteps
from weightgen.translation.lora import inject_lora, lora_state
from weightgen.translation.nets import DISCRIMINATORS


def shares(specs: Sequence[Spec], workers: int) -> list[list[Spec]]:
    """`specs` split for `workers` processes, each part of one base and one budget (steps may differ)."""
    alike: dict[str, list[Spec]] = {}
    for spec in specs:
        options = {name: value for name, value in spec.config.items() if name != "steps"}
        alike.setdefault(json.dumps([find(spec, "base").key, options], sort_keys=True), []).append(spec)
    parts = (group[i::workers] for group in alike.values() for i in range(workers))
    return [part for part in parts if part]


def train_together(pipeline: Pipeline, specs: Sequence[Spec], row: int = 0) -> None:
    """Build what is missing of `specs`, one part of `shares`, whose inputs are there. row: of the progress bar.

    A concept that another process trains is left to it. When nothing else is left its end is waited for, since that
    process may be killed.
    """
    store = pipeline.store
    try:
        while missing := [spec for spec in specs if not store.has(spec)]:
            if any(map(store.claim, missing)) or store.claim(missing[0], wait=True):
                _fleet(pipeline, missing, row)
    finally:
        store.release()


def _fleet(pipeline: Pipeline, specs: Sequence[Spec], row: int) -> None:
    """Train and publish those of `specs` that nobody else does."""
    cfg, store, size = pipeline.cfg, pipeline.store, min(pipeline.cfg.fleet.size, len(specs))
    specs_by_key = {spec.key: spec for spec in specs}
    base = find(specs[0], "base")
    folders = FleetFolders(store.root / "lora")
    with folders.new() as folder:

        def leave(result: FleetResult) -> None:
            spec = specs_by_key[result.name]

            def build(artifact: Path) -> dict[str, Any]:
                with tracked(cfg, spec, artifact, tags=[spec.subject.name]) as loggers:
                    record = publish(pipeline, spec, artifact, loggers, result, module.device)
                if (losses := folder / "log" / "metrics.csv").exists():
                    shutil.copy(losses, artifact / "log" / "fleet.csv")
                return record

            with torch.autocast(module.device.type, enabled=False):  # scores are float32's, as of any run
                store.ensure(spec, build)
            folders.sweep(folder)

        module = _module(pipeline, specs, load_base(pipeline, store.require(base)), size, leave)
        module.set_extra_state({"fleet_step": 0, "held": folders.saved(specs_by_key), "left": []})
        about = {"concepts": [spec.subject.name for spec in specs], "size": size}
        run = Spec("lora", 1, about, (base,), label=f"lora fleet of {len(specs)}")
        with tracked(cfg, run, folder, tags=["fleet"]) as loggers:
            bar = FleetProgress(module, f"lora x {size}", row)
            fit(cfg, module, FleetSteps(module), folder, loggers, [bar], bar=False)


def _module(pipeline: Pipeline, specs: Sequence[Spec], base: torch.nn.Module, size: int, leave: Any) -> FleetModule:
    """What `train_loras.train` makes for one concept, for all of `specs`; they go by their keys."""
    cfg, budget, lora = pipeline.cfg, pipeline.cfg.budget.lora, lora_spec(pipeline.cfg)
    specs_by_key = {spec.key: spec for spec in specs}
    discriminator = seeded(cfg.build_seed, DISCRIMINATORS, cfg.discriminator) if budget.adversarial else None

    def own_start(key: str) -> dict[str, Tensor]:
        return lora_state(inject_lora(base, lora.starting(specs_by_key[key].subject.prompt)))

    return FleetModule(
        base,
        lora,
        {spec.key: spec.config["steps"] for spec in specs},
        _batches(pipeline, specs),
        instantiate(budget.optimizer),
        leave,
        size=size,
        discriminator=discriminator,
        discriminator_optimizer=instantiate(budget.discriminator_optimizer),
        claim=lambda key: pipeline.store.claim(specs_by_key[key]),
        lora=own_start if lora.seeds == "own" else None,
        l1_weight=budget.l1_weight,
        warmup_steps=budget.warmup_steps,
        decay_start=budget.decay_start,
    )


def _batches(pipeline: Pipeline, specs: Sequence[Spec]) -> FleetBatches:
    texts, prompts, rows = [], [], 0
    concepts = [spec.subject for spec in specs]
    for spec in specs:  # encoded concept by concept, as one at a time: the very same numbers
        text, _ = concept_texts(pipeline, [spec.subject])
        texts.append(text)
        prompts.append(range(rows, rows + len(text)))
        rows += len(text)
    return FleetBatches(
        train_sources(pipeline, concepts),
        TrainPairs(pipeline, concepts, 1),
        Texts(torch.cat([text.tokens for text in texts]), torch.cat([text.mask for text in texts]), prompts),
        pipeline.cfg.budget.lora.batch_size,
        pipeline.cfg.build_seed,
    )


class FleetProgress(pl.Callback):
    """A bar with an ETA over concept-steps; silent when stderr is not a terminal."""

    def __init__(self, fleet: FleetModule, label: str, row: int) -> None:
        self.bar = tqdm(
            desc=label,
            total=fleet.total,
            initial=self.done(fleet),
            unit=" concept-steps",
            disable=None,
            leave=False,
            position=row,
        )

    @staticmethod
    def done(fleet: FleetModule) -> int:
        """Concept-steps that need no more doing, whoever did them."""
        return fleet.total - fleet.remaining

    def on_train_batch_end(self, trainer: pl.Trainer, module: FleetModule, *args: Any) -> None:
        self.bar.update(self.done(module) - self.bar.n)

    def on_train_end(self, *args: Any) -> None:
        self.bar.close()

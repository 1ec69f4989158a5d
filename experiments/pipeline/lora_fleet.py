"""LoRAs of one base trained at once (fleet.size > 1), each published as an artifact of its own when it is finished."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm

from experiments.pipeline.fleet_folders import FleetFolders
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs
from experiments.stages.lora import publish
from experiments.training.fit import fit, tracked
from experiments.training.gan import gan_options, new_discriminator
from experiments.training.payloads import TrainPairs, load_base, optimizer, read_text, train_sources
from weightgen.artifacts import Spec, Store
from weightgen.batches import Texts
from weightgen.translation.fleet.batches import FleetBatches
from weightgen.translation.fleet.members import FleetResult
from weightgen.translation.fleet.training import FleetModule, FleetSteps
from weightgen.translation.lora import LoraSpec, inject_lora, lora_state


def shares(specs: Sequence[Spec], workers: int) -> list[list[Spec]]:
    """`specs` split for `workers` processes, each part of one base and one budget (steps may differ)."""
    alike: dict[str, list[Spec]] = {}
    for spec in specs:
        options = {name: value for name, value in spec.config.items() if name != "steps"}
        alike.setdefault(json.dumps([spec.upstream("base").key, options], sort_keys=True), []).append(spec)
    parts = (group[i::workers] for group in alike.values() for i in range(workers))
    return [part for part in parts if part]


def train_together(store: Store, specs: Sequence[Spec], runtime: Runtime, row: int = 0) -> None:
    """Build what is missing of `specs`, one part of `shares`, whose inputs are there. row: of the progress bar.

    A concept that another process trains is left to it. When nothing else is left its end is waited for, since that
    process may be killed.
    """
    try:
        while missing := [spec for spec in specs if not store.has(spec)]:
            if any(map(store.claim, missing)) or store.claim(missing[0], wait=True):
                Fleet(store, missing, runtime).train(row)
    finally:
        store.release()


class Fleet:
    """Trains and publishes those of `specs` that nobody else does; they go by their keys."""

    def __init__(self, store: Store, specs: Sequence[Spec], runtime: Runtime) -> None:
        self.store, self.runtime, self.size = store, runtime, min(runtime.fleet, len(specs))
        self.specs = {spec.key: spec for spec in specs}
        self.inputs = {spec.key: Inputs.of(store, spec) for spec in specs}
        self.config = specs[0].config  # alike for all but for its steps
        self.base = load_base(next(iter(self.inputs.values())).one("base"))

    def train(self, row: int = 0) -> None:
        folders = FleetFolders(self.store.root / "lora")
        with folders.new() as folder:

            def leave(result: FleetResult) -> None:
                with torch.autocast(module.device.type, enabled=False):  # scores are float32's, as of any run
                    self._publish(result, folder, module.device)
                folders.sweep(folder)

            module = self.module(leave)
            module.set_extra_state({"fleet_step": 0, "held": folders.saved(self.specs), "left": []})
            about = {"concepts": [spec.label for spec in self.specs.values()], "size": self.size}
            first = next(iter(self.specs.values()))
            run = Spec("lora", 1, about, (first.upstream("base"),), label=f"lora fleet of {len(self.specs)}")
            with tracked(self.runtime.named(run), folder, tags=["fleet"]) as loggers:
                bar = FleetProgress(module, f"lora x {self.size}", row)
                fit(self.runtime, module, FleetSteps(module), folder, loggers, [bar], bar=False)

    def _publish(self, result: FleetResult, fleet: Path, device: torch.device) -> None:
        """The artifact of one concept; with the losses of its fleet."""
        spec, inputs = self.specs[result.name], self.inputs[result.name]

        def build(folder: Path) -> dict[str, Any]:
            runtime = self.runtime.named(spec)
            with tracked(runtime, folder) as loggers:
                record = publish(spec.config, inputs, folder, runtime, loggers, result, device)
            if (losses := fleet / "log" / "metrics.csv").exists():
                shutil.copy(losses, folder / "log" / "fleet.csv")
            return record

        self.store.ensure(spec, build)

    def module(self, leave: Any) -> FleetModule:
        """What `experiments.stages.lora.train` makes for one concept, for all of them."""
        budget, lora = self.config["budget"], LoraSpec(**self.config["lora"])
        discriminator = new_discriminator(self.config)

        def own_start(key: str) -> dict[str, Tensor]:
            return lora_state(inject_lora(self.base, lora.starting(self.inputs[key].one("pairs").config["prompt"])))

        return FleetModule(
            self.base,
            lora,
            {key: spec.config["steps"] for key, spec in self.specs.items()},
            self.batches(),
            optimizer(budget["optimizer"]),
            leave,
            size=self.size,
            discriminator=discriminator,
            claim=lambda key: self.store.claim(self.specs[key]),
            lora=own_start if lora.seeds == "own" else None,
            **gan_options(budget),
        )

    def batches(self) -> FleetBatches:
        texts = [read_text(inputs.one("text")) for inputs in self.inputs.values()]
        prompts, rows = [], 0
        for text in texts:
            prompts.append(range(rows, rows + len(text)))
            rows += len(text)
        pairs = [inputs.one("pairs") for inputs in self.inputs.values()]
        photos = next(iter(self.inputs.values())).maybe("photos")
        return FleetBatches(
            train_sources(pairs, photos),
            TrainPairs(pairs, photos, 1),
            Texts(torch.cat([text.tokens for text in texts]), torch.cat([text.mask for text in texts]), prompts),
            self.config["budget"]["batch_size"],
            self.config["seed"],
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

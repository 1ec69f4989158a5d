"""What a builder is given that changes no result: device, processes, logs, and where things lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.pipeline.options import LOCAL_MODELS, by_content, plain
from experiments.training.provenance import learning_rates, provenance
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept

PLACES = ("concepts", "photos", "editor", "zoo")


@dataclass(frozen=True)
class Run:
    """How the logs of one build are called. id: the artifact's key, so that a build that goes on after a kill goes on in
    its run; config: what to group and filter by."""

    stage: str
    name: str
    id: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Logging:
    """As conf/logger says; folder: of W&B's own files; every: training steps between logged losses."""

    wandb: bool
    mode: str
    project: str
    entity: str | None
    folder: str
    every: int


@dataclass(frozen=True)
class Runtime:
    """trainer: options of Lightning's Trainer. ranks, accumulate, parallel: how processes share a batch (conf/strategy).
    metrics: the image features whose scores are logged. places: slot -> options of photos, editor, concepts or zoo that are
    not in a key, such as a folder or a device. models: content of a local model, as keys name it -> where it lies.
    """

    trainer: Mapping[str, Any]
    ranks: int | str
    accumulate: int
    parallel: Mapping[str, Any]
    workers: int
    threads: int
    fleet: int
    graphs: bool
    channels_last: bool
    checkpoint_every: int
    logger: Logging
    recipe: str
    base: str
    metrics: Mapping[str, Any]
    places: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, str]
    run: Run | None = None

    @classmethod
    def of(cls, cfg: DictConfig) -> Runtime:
        strategy = plain(cfg.strategy)
        return cls(
            trainer=strategy["trainer"],
            ranks=strategy["ranks"],
            accumulate=strategy["accumulate"],
            parallel=strategy["parallel"],
            workers=strategy["workers"],
            threads=strategy["threads"],
            fleet=cfg.fleet.size,
            graphs=strategy["graphs"],
            channels_last=strategy["channels_last"],
            checkpoint_every=cfg.budget.checkpoint_every,
            logger=Logging(**plain(cfg.logger)),
            recipe=cfg.recipe,
            base=cfg.base,
            metrics=plain(cfg.metrics),
            places={slot: OmegaConf.to_container(cfg[slot], resolve=True) for slot in PLACES},
            models=dict(pair for slot in ("text_encoder", "metrics") for pair in _local_models(cfg[slot])),
        )

    @property
    def gpu(self) -> bool:
        return self.trainer["accelerator"] == "gpu"

    @property
    def device(self) -> str:
        """Where nets run that no trainer moves."""
        return "cuda" if self.gpu else "cpu"

    def machine(self) -> dict[str, Any]:
        """What trains: the device as tables name it, its precision, and threads of a process."""
        device = f"cpu x{self.threads}"
        if self.gpu:
            import torch

            device = torch.cuda.get_device_name()
        precision = self.trainer["precision"]
        device += "" if precision == "32-true" else f" {precision}"
        return {"device": device, "precision": precision, "threads": self.threads}

    def named(self, spec: Spec) -> Runtime:
        """The same for the build of `spec`."""
        about = _about(spec)
        tags = tuple(str(about[name])[:64] for name in ("method", "concept", "split") if name in about)
        name = spec.label.replace(" ", "/") or spec.stage
        return replace(self, run=Run(spec.stage, name, spec.key, tags, describe_run(self, spec)))

    def local(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options as a key holds them, with local models by their place again in place of their content."""
        return {
            name: self.models.get(value, value) if isinstance(value, str) else value for name, value in options.items()
        }

    def complete(self, slot: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a source as its key holds them, with those that are not in keys. What is in both is the key's;
        content that the key alone knows (names that end in _sha256) is no option."""
        return {**self.places[slot], **{k: v for k, v in options.items() if not k.endswith("_sha256")}}


def _local_models(node: DictConfig) -> list[tuple[str, str]]:
    return [(kept, value) for (name, value), kept in zip(plain(node).items(), by_content(node).values(), strict=True)
            if name in LOCAL_MODELS and kept != value]  # fmt: skip


def _about(spec: Spec) -> dict[str, Any]:
    match spec.subject:
        case (method, Concept() as concept, seed):
            return {"method": method, "seed": seed} | _about_concept(concept)
        case Concept() as concept:
            return _about_concept(concept)
        case _:
            return {}


def _about_concept(concept: Concept) -> dict[str, Any]:
    return {"concept": concept.name, "prompt": concept.prompt, "split": concept.split}


def describe_run(about: Any, spec: Spec) -> dict[str, Any]:
    """A run's config: what to group and filter by, first of all method and concept; then the stage's own configuration,
    its key, and references to what it is made from. about: a Runtime or a configuration, for its recipe and base."""
    return {
        "recipe": about.recipe,
        "base": about.base,
        **_about(spec),
        "learning_rates": learning_rates(spec.config),
        "provenance": provenance(),
        "stage": spec.describe(),
        "key": spec.key,
        "inputs": [source.reference() for source in spec.inputs],
    }

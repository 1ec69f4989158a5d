"""How work is shared out: the share of a job among several that do one stage, and which trainings share a process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from weightgen.artifacts import Spec
from weightgen.errors import WeightgenError

Item = TypeVar("Item")


def share(cfg: DictConfig, items: Sequence[Item]) -> list[Item]:
    """This job's part of `items`: all, or with fleet.shard=k every n-th from the k-th, n being fleet.shards.

    Over k = 0 .. n - 1 every item is in exactly one part. Raises WeightgenError if k or n makes no sense.
    """
    shard, shards = cfg.fleet.shard, cfg.fleet.shards
    if shard is None:
        if shards is not None:
            raise WeightgenError(
                f"fleet.shards={shards} says how many jobs there are, not which this is: "
                f"sweep fleet.shard with -m 'fleet.shard=range(0,{shards})', or leave fleet.shards out"
            )
        return list(items)
    if shards is None:
        shards = _swept(f"fleet.shard={shard}")
    if not (isinstance(shard, int) and isinstance(shards, int) and 0 <= shard < shards):
        raise WeightgenError(f"fleet.shard={shard} of fleet.shards={shards}: choose 0 to fleet.shards - 1")
    return list(items[shard::shards])


def _swept(given: str) -> int:
    """How many shards the sweep that this job belongs to has; it must sweep 0, 1, ..., n - 1."""
    values: list[str] = []
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        record = Path(HydraConfig.get().sweep.dir) / "multirun.yaml"  # Hydra writes it before the first job
        task = OmegaConf.load(record).hydra.overrides.task if record.exists() else []
        for override in OverridesParser.create().parse_overrides(list(task)):
            if override.key_or_group == "fleet.shard" and override.is_sweep_override():
                values = list(override.sweep_string_iterator())
    if sorted(values) != sorted(str(k) for k in range(len(values))) or not values:
        raise WeightgenError(
            f"{given} of how many? Say fleet.shards=<how many>, or sweep them all: -m 'fleet.shard=range(0,<how many>)'"
        )
    return len(values)


def trains(spec: Spec) -> bool:
    """Whether a fleet can train it: it has steps, and no dropout, which a captured step would not draw anew."""
    if spec.stage not in ("lora", "finetune"):
        return False
    return steps_of(spec) > 0 and not spec.config.get("scratch", {}).get("dropout", 0)


def kind(spec: Spec) -> str:
    """What the trainings of a fleet have in common, so that their steps cost the same: each is charged for its steps."""
    net = spec.config.get("scratch", spec.config.get("lora"))
    return json.dumps([spec.stage, net, spec.config["budget"].get("trainable")], sort_keys=True)


def steps_of(spec: Spec) -> int:
    return spec.config["steps"] if "steps" in spec.config else spec.config["budget"]["steps"]

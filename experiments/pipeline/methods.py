"""The methods: what conf/init says of each."""

from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.command.app import CONF
from experiments.pipeline.options import plain
from weightgen.errors import WeightgenError
from weightgen.evaluation.methods import ordered
from weightgen.inits import INITS

FOLDER = Path(CONF) / "init"


@cache
def all_methods() -> list[str]:
    """Every conf/init that is no control, in canonical order."""
    kinds = {path.stem: OmegaConf.load(path).kind for path in FOLDER.glob("*.yaml")}
    return ordered(name for name, kind in kinds.items() if not INITS.find(kind).control)


def method_options(cfg: DictConfig, name: str) -> dict[str, Any]:
    """conf/init/<name>.yaml, with the command line's `init.*` where it names this method.

    Raises WeightgenError if there is no such method.
    """
    if name == cfg.init.name:
        return plain(cfg.init)
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        raise WeightgenError(f"method {name!r} is unknown: use some of {', '.join(all_methods())}, or all")
    rounds = {"guide": {"rounds": cfg.budget.guide.rounds}}
    return plain(OmegaConf.create({"evidence": cfg.evidence, "budget": rounds, "init": OmegaConf.load(path)}))["init"]

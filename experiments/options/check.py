"""The check of a composed configuration: every option by its rule, then options that hang on one another."""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.options.rules import Rule
from experiments.options.table import ROOT, table
from experiments.options.together import disagreements
from weightgen.errors import WeightgenError

CLASS_KEYS = ("_target_", "_partial_", "name", "kind")  # which class a node is of, not an option of it
MISSING = "???"
WITHOUT_DATA = ("bench", "gpu", "collect_concepts", "dashboard")  # apps that look at no photo


class BadOption(WeightgenError):
    """An option has a value that it does not take; the message names the option, what it got and what it takes."""


def check(cfg: DictConfig, required: bool = True, together: bool = True) -> None:
    """Raises BadOption for the first option that is wrong, and says how many more there are.

    required: options without a value count as wrong. together: options that hang on one another are looked at too.
    """
    options = plain(cfg)
    faults = [
        f"{name} is taken away: add {name}=<value>"
        for name in ROOT
        if name not in {*options, "plan"} and "." not in name
    ]
    faults += _faults("", options, required)
    if not faults and together:
        faults = list(disagreements(options))
    if faults:
        more = f" (and {len(faults) - 1} more)" if faults[1:] else ""
        raise BadOption(faults[0] + more)


def check_job(cfg: DictConfig) -> None:
    """`check` of one run, with or without Hydra's own node, as its app needs it."""
    hydra = cfg.get("hydra") or HydraConfig.get()
    name = hydra.job.name
    own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    # A study's table tells which values could not be had; the stages say so.
    check(own, required=name not in WITHOUT_DATA, together=name != "study")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved options, `???` where one has no value. Raises BadOption for an interpolation that leads nowhere."""
    try:
        return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        where = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise BadOption(f"{where}{reason} (a literal ${{ in a text is written \\${{)") from None


def shown(value: Any) -> str:
    """A value as the command line would spell it."""
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    text = json.dumps(value, ensure_ascii=False, default=str).replace('"', "")
    return text if len(text) <= 80 else text[:77] + "..."


def _faults(path: str, node: Any, required: bool, foreign: bool = False) -> Iterator[str]:
    """One line for each wrong option at and below `path`. foreign: it is an option of another package's class."""
    rule = _rule(path)
    if node == MISSING:
        if required:
            yield f"{path} has no value: add {path}=<value>"
    elif rule is not None:
        if not rule.fits(node):
            yield f"{path}={shown(node)}: takes {rule.takes}"
    elif isinstance(node, dict):
        foreign = foreign or "_target_" in node
        for key, value in node.items():
            below = f"{path}.{key}" if path else str(key)
            if key not in CLASS_KEYS or _rule(below) is not None:
                yield from _faults(below, value, required, foreign)
    elif node is not None and not foreign:
        groups = any(fnmatchcase(".".join(option.split(".")[: path.count(".") + 1]), path) for option in table())
        what = "a group of options" if groups else "nothing, there is no such option"
        yield f"{path}={shown(node) if groups else '...'}: takes {what}"


@cache
def _rule(path: str) -> Rule | None:
    rules = table()
    if path in rules:
        return rules[path]
    same = (
        rule for option, rule in rules.items() if option.count(".") == path.count(".") and fnmatchcase(path, option)
    )
    return next(same, None)

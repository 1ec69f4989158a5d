"""Hydra's callback that checks every option before anything is written: of a run, and of a sweep's jobs beforehand."""

import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.command.api_key import require_no_secret
from experiments.command.hydra_errors import one_line
from experiments.options.check import check_job
from weightgen.errors import WeightgenError


class CheckOptions(Callback):
    """Ends a run or sweep with one line if an option is wrong or a key would be written to disk."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _stop_unless_sound(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        for job in _jobs(config):
            _stop_unless_sound(job)


def _jobs(config: DictConfig) -> list[DictConfig]:
    """Configurations of a sweep in which every swept value occurs, as few as that takes; each job checks itself again."""
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    given += config.hydra.overrides.task
    loader = GlobalHydra.instance().config_loader()
    axes: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(given):
        if not override.is_sweep_override() or override.is_discrete_sweep():  # else a sweeper's own kind of range
            axes[override.get_key_element()] = [job[0] for job in BasicSweeper.split_arguments([override], None)[0]]
    longest = max(map(len, axes.values()), default=1)
    combinations = [[values[min(k, len(values) - 1)] for values in axes.values()] for k in range(longest)]
    try:
        return [loader.load_sweep_config(config, combination) for combination in combinations]
    except (HydraException, OmegaConfBaseException) as error:
        _stop(one_line(error) or str(error))


def _stop_unless_sound(config: DictConfig) -> None:
    try:
        require_no_secret(config)
        check_job(config)
    except WeightgenError as error:
        _stop(str(error))


def _stop(message: str) -> None:
    # Hydra turns a callback's exceptions into warnings, an exit it respects.
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)

"""What every app shares: the entry point, its errors and exit codes."""

import errno
import functools
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_SILENT", "true")

import hydra
from omegaconf import DictConfig, MissingMandatoryValue

from experiments.command.api_key import hide_api_key
from experiments.command.help import asks_for_help, help_text
from experiments.command.hydra_errors import one_line
from experiments.options.check import check_job
from experiments.options.table import CONF as CONF_FOLDER
from experiments.sweeps.jobs import in_sweep, judge, run_job
from weightgen.errors import WeightgenError

# conf/hydra/launcher goes by the names that the plugins use, whose schemas check it; job processes warn of that first thing.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore")

CONF = str(CONF_FOLDER)
INTERRUPTED = 128 + signal.SIGINT


def quiet() -> None:
    """Keep frameworks' chatter off the console; every process of a stage calls it."""
    import pytorch_lightning  # noqa: F401  # its first import sets its own level

    for name in (
        "pytorch_lightning",
        "lightning",
        "pytorch_lightning.utilities.rank_zero",
        "lightning_fabric",
        "httpx",
        "httpx2",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric|lightning|peft|torchmetrics|joblib")
    warnings.filterwarnings("ignore", message=r".*(lr_scheduler\.step|srun|does not have many workers|treespec).*")


def prepare(threads: int) -> None:
    """Threads and chatter of a process that is about to work."""
    import torch

    quiet()
    torch.set_num_threads(threads)


def app(stage: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """A Hydra entry point around `stage`: its options are checked before anything is written (see command.checks),
    expected failures print one line and exit 1, an interrupt prints one and exits 130.

    A job of a multirun that fails lets the others go on; their parent names it at the end (see sweeps.jobs). What `stage`
    returns is the job's value. The entry point's own `stage` is the function itself.
    """

    def checked(cfg: DictConfig) -> Any:
        check_job(cfg)
        return stage(cfg)

    @hydra.main(version_base="1.3", config_path=CONF, config_name="config")
    @functools.wraps(stage)
    def main(cfg: DictConfig) -> Any:
        if in_sweep():
            return run_job(checked, cfg, explain)
        return checked(cfg)

    @functools.wraps(stage)
    def entry() -> None:
        if asks_for_help(sys.argv[1:]):
            print(help_text(stage.__module__))
            return
        signal.signal(signal.SIGINT, _interrupted)
        sys.argv[1:] = hide_api_key(sys.argv[1:])
        os.environ.pop("WANDB_SERVICE", None)  # a parent's would refuse the run id that a killed run still holds there
        judge(functools.partial(_explained, main))

    entry.stage = stage  # type: ignore[attr-defined]
    return entry


def _explained(main: Callable[[], None]) -> None:
    """Run a Hydra entry point; a failure that a person can mend, of ours or in what Hydra was told, is one line, exit 1."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on as they are
    try:
        main()
    except Exception as error:  # a bug goes on as it came; see explain
        message = explain(error) or one_line(error)
        if message is None or before == "1":
            raise
        print(f"error: {message}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _interrupted(number: int, frame: Any) -> None:
    # Whatever is at work may end at any moment, as it does with kill -9; child processes end with this one (sweeps.jobs).
    os.write(2, b"\ninterrupted: the same command goes on from here\n")
    os._exit(INTERRUPTED)


def explain(error: BaseException) -> str | None:
    """One line for a failure that a person can mend, None for a bug."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, WeightgenError):
            return str(cause)
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key} has no value: add {cause.full_key}=<value>"
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(cause):  # safetensors has an error class of its own
            return (
                f"the disk is full ({getattr(cause, 'filename', None) or 'artifacts'}): free space or set "
                "paths.artifacts=<folder on another disk>, then run the same command again; "
                "finished artifacts are kept"
            )
        cause = cause.__cause__ or cause.__context__
    return None

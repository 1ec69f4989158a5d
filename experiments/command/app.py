"""What every app shares: the entry point, its errors and exit codes."""

import errno
import functools
import logging
import os
import re
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_SILENT", "true")
# of the processes that tidy up after an interrupted run, which would say so after its last line
os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, MissingMandatoryValue

from experiments.command.api_key import hide_api_key
from experiments.command.help import asks_for_help, help_text
from experiments.command.hydra_errors import one_line
from experiments.options.check import check_job
from experiments.options.table import CONF as CONF_FOLDER
from experiments.pipeline.plan import Planned
from experiments.sweeps.jobs import in_sweep, judge, run_job
from weightgen.errors import MissingArtifact, WeightgenError

# conf/hydra/launcher goes by the names that the plugins use, whose schemas check it; job processes warn of that first thing.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore")

CONF = str(CONF_FOLDER)


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
        try:
            return stage(cfg)
        except Planned as plan:
            print(plan, flush=True)
            return None

    @hydra.main(version_base="1.3", config_path=CONF, config_name="config")
    @functools.wraps(stage)
    def main(cfg: DictConfig) -> Any:
        if in_sweep():
            return run_job(checked, cfg, explain)
        try:
            return checked(cfg)
        except Exception as error:
            _end(explain(error))

    @functools.wraps(stage)
    def entry() -> None:
        if asks_for_help(sys.argv[1:]):
            print(help_text(stage.__module__))
            return
        _end_in_one_line_when_interrupted()
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
    except Exception as error:
        _end(one_line(error))
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


def _end(message: str | None) -> NoReturn:
    """While an exception is handled: exit 1 with a line, or with the traceback where there is no message, which is a bug."""
    if message is None:
        traceback.print_exc()
    else:
        print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def _end_in_one_line_when_interrupted() -> None:
    """Ctrl-C reaches a thread of this process alone: child processes inherit that it is blocked, and end with this one
    (sweeps.jobs.end_with). Whatever is at work may end at any moment, as it does with kill -9."""

    def end(*_: Any) -> None:
        os.write(2, b"\ninterrupted: the same command goes on from here\n")
        os._exit(128 + signal.SIGINT)

    def wait() -> None:
        end(signal.sigwait({signal.SIGINT}))

    signal.signal(signal.SIGINT, end)  # where a library lets the signal through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=wait, daemon=True).start()


def explain(error: BaseException) -> str | None:
    """One line for a failure that a person can mend, None for a bug."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MissingArtifact):
            return _with_this_commands_options(str(cause))
        if isinstance(cause, WeightgenError):
            return str(cause)
        if isinstance(cause, MissingMandatoryValue):
            return f"{cause.full_key} has no value: add {cause.full_key}=<value>"
        if type(cause).__name__ == "TerminatedWorkerError":
            return (
                "a worker process was killed, most likely because memory ran out: the same command goes on from here; "
                "strategy.workers=1 needs less"
            )
        if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and cause.filename:
            return (
                f"{cause.filename} may not be written or read here ({cause.strerror}): allow it, or choose other paths"
            )
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(cause):  # safetensors has an error class of its own
            file = getattr(cause, "filename", None)
            disk = f" at {_mount(Path(file))}" if isinstance(file, str) else ""
            return (
                f"the disk is full{disk}: free space or set paths.artifacts=<folder on another disk>, then run the same "
                "command again; finished artifacts are kept"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _mount(path: Path) -> Path:
    """Where the disk of a file is mounted."""
    return next((above for above in (path.absolute(), *path.absolute().parents) if above.is_mount()), path)


def _with_this_commands_options(message: str) -> str:
    """`make base` as `make base EXP=<recipe> ARGS="<overrides>"`, which builds what this command lacks."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    recipes = [word.partition("=")[2] for word in given if word.startswith("experiment=")]
    if not recipes:
        return message
    others = [word for word in given if not word.startswith(("experiment=", "build_missing="))]
    told = shlex.join(others).replace("$", "$$").replace('"', '\\"')
    options = f" EXP={recipes[-1]}" + (f' ARGS="{told}"' if others else "")
    return re.sub(r"`make (\w+)`", lambda found: f"`make {found[1]}{options}`", message)

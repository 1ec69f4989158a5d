"""The jobs of a multirun: each says what it is for, and the parent judges them all by what they have finished.

Launchers and schedulers are not believed: SLURM says COMPLETED of a training whose time ran out, a killed process
says nothing at all, and the first failure would end Hydra's sweep before the others are done.
"""

import json
import multiprocessing.resource_tracker
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from weightgen.artifacts import FILES, Spec, Store
from weightgen.files import write_json

RECORD = "job.json"
SWEEP = "WEIGHTGEN_SWEEP"  # in the environment of joblib's workers: the process id of the sweep that they belong to
EXTRAS = {"hydra_ray_launcher": "ray"}  # plugin package -> extra of pyproject.toml that installs it


def in_sweep() -> bool:
    """Whether this process runs a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _record() -> Path:
    return Path(HydraConfig.get().runtime.output_dir) / RECORD


def _note(**facts: Any) -> None:
    path = _record()
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, known | facts)


def promise(store: Store, specs: Iterable[Spec]) -> None:
    """This job is for these artifacts (and those promised before). No-op outside multiruns."""
    if in_sweep() and _record().exists():
        known = json.loads(_record().read_text())["artifacts"]
        new = [spec.reference() | {"path": str(store.path(spec).absolute())} for spec in specs]
        _note(artifacts=known + new)


def withdraw() -> None:
    """What was promised is not, or no longer, what this job is for: it is done when it says so."""
    if in_sweep() and _record().exists():
        _note(artifacts=[])


def run_job(stage: Callable[[DictConfig], Any], cfg: DictConfig, explain: Callable) -> Any:
    """A job of a multirun: its value, None if it failed. Says so in its folder, and lets the others go on."""
    if "joblib" in HydraConfig.get().launcher._target_:
        end_with(int(os.environ[SWEEP]))  # which may have died while this process began
    _record().unlink(missing_ok=True)  # of an earlier sweep, or of this job before it was requeued
    job, process = HydraConfig.get(), {"host": socket.gethostname(), "pid": os.getpid()}
    _note(number=job.job.num, overrides=list(job.overrides.task), **process, status="begun", artifacts=[])
    try:
        value = stage(cfg)
    except Exception as error:
        reason = explain(error)
        if reason is None:
            traceback.print_exc()
        message = reason or f"{type(error).__name__}: {error}"
        print(f"error: {message}", file=sys.stderr, flush=True)
        _note(status="failed", error=message)
        return None
    _note(status="done", value=value)
    return value


@cache
def end_with(parent: int) -> None:
    """End this process when its parent is gone: a run that was killed -9 must not go on in its orphans."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that start inside never hear Ctrl-C: they end with their parent (end_with), which says so for all."""
    from joblib.externals.loky.backend import resource_tracker as loky_tracker  # joblib imports numpy

    for tracker in (multiprocessing.resource_tracker, loky_tracker):
        tracker.ensure_running()  # as it starts, it lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Sweep:
    """A multirun as its parent knows it. jobs: how many, None where its sweeper decides that as it goes."""

    folder: Path
    jobs: int | None

    def records(self) -> dict[int, dict[str, Any]]:
        """What the jobs that have begun say of themselves, by their numbers."""
        records = [json.loads(path.read_text()) for path in self.folder.rglob(RECORD)]
        return {record["number"]: record for record in records}

    def failures(self) -> list[str]:
        """One line for each job that did not finish what it was for."""
        records = self.records()
        verdicts = {k: _verdict(records.get(k)) for k in sorted({*records, *range(self.jobs or 0)})}
        return [f"job {number}{reason}" for number, reason in verdicts.items() if reason]


def _verdict(record: dict[str, Any] | None) -> str | None:
    """Why a job is not done, None if it is: all artifacts it was for are there."""
    if record is None:
        return ": never began"
    missing = [a["label"] for a in record["artifacts"] if not (Path(a["path"]) / FILES).exists()]
    if record["status"] == "failed":
        reason = record["error"]
    elif missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        reason = f"ended without {missing[0]}{more} (killed, or out of time)"
    elif record["status"] == "begun" and not record["artifacts"]:
        reason = "ended before it was done (killed, or out of time)"
    else:
        return None
    return f" ({' '.join(record['overrides'])}): {reason}"


class Jobs(Callback):
    """Of every app: remembers the multirun that this process starts, for `judge`."""

    sweep: Sweep | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _require_plugin(config.hydra.launcher)
        folder = Path(config.hydra.sweep.dir)
        for stale in folder.rglob(RECORD):
            stale.unlink()
        Jobs.sweep = Sweep(folder, _count(config))
        os.environ[SWEEP] = str(os.getpid())
        if "submitit" in config.hydra.launcher._target_:
            _wait_for_every_job()


def _require_plugin(launcher: DictConfig) -> None:
    """Exits with one line where the launcher's package is missing."""
    package = launcher._target_.split(".")[1]
    if launcher._target_.startswith("hydra_plugins.") and find_spec(f"hydra_plugins.{package}") is None:
        extra = EXTRAS.get(package)
        remedy = f"pip install -e '.[{extra}]' -c .ci/constraints-{extra}.txt" if extra else "make setup"
        # Hydra turns a callback's exceptions into warnings, an exit it respects.
        print(f"error: this launcher needs {package}, which is missing: {remedy}", file=sys.stderr, flush=True)
        raise SystemExit(1)


def _count(config: DictConfig) -> int | None:
    """How many jobs Hydra's basic sweeper will make."""
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None
    params = (config.hydra.sweeper.params or {}).items()
    given = [f"{key}={value}" for key, value in params] + list(config.hydra.overrides.task)
    values: dict[str, int] = {}
    for override in OverridesParser.create().parse_overrides(given):
        swept = override.is_sweep_override() and override.is_discrete_sweep()
        values[override.get_key_element()] = len(list(override.sweep_string_iterator())) if swept else 1
    total = 1
    for number in values.values():
        total *= number
    return total


def _wait_for_every_job() -> None:
    """Hydra's launcher collects results in order and would leave at the first job that was killed."""
    from submitit import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    results = Job.results

    def patient(job: Job) -> list[Any]:
        try:
            return results(job)
        except (UncompletedJobError, FailedJobError) as error:
            print(f"{job.job_id}: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
            return [JobReturn(status=JobStatus.COMPLETED)]  # `judge` knows better

    Job.results = patient


def judge(run: Callable[[], Any]) -> None:
    """Run a Hydra entry point; after a multirun name every job that did not finish, and exit 1 if there is one."""
    code: Any = 0
    try:
        run()
    except SystemExit as ended:
        code = ended.code
    sweep = Jobs.sweep
    told = sweep is not None and (sweep.records() or not code)  # else Hydra has said why no job began
    if told and (failures := sweep.failures()):
        of = f" of {sweep.jobs}" if sweep.jobs else ""
        print(f"error: {len(failures)}{of} jobs did not finish:", *failures, sep="\n  ", file=sys.stderr)
        print(f"logs: {sweep.folder}; the same command again goes on from there", file=sys.stderr, flush=True)
        code = code or 1
    if code:
        raise SystemExit(code)

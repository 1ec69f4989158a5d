"""Whole runs of the smoke recipe that are killed, run out of disk, or write one report at a time."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.apps import ROOT
from weightgen.artifacts import _check
from weightgen.errors import WeightgenError
from weightgen.files import file_hash

Trial = tuple[str, bool, str]  # what was tried, whether it went well, what was seen
SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24)  # megabytes


def command(app: str, folder: Path, *given: str) -> list[str]:
    paths = [
        f"paths.artifacts={folder}/artifacts",
        f"paths.reports={folder}/reports",
        f"hydra.run.dir={folder}/outputs",
    ]
    return [sys.executable, "-m", f"experiments.{app}", "experiment=smoke", "logger=csv", *paths, *given]


def run(app: str, folder: Path, *given: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(app, folder, *given), cwd=ROOT, capture_output=True, text=True, timeout=900)


def one_line(result: subprocess.CompletedProcess, *parts: str) -> bool:
    """Whether a run ended with one line that begins with "error: " and holds every part, and no traceback."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return (
        result.returncode in (1, 2)
        and len(errors) == 1
        and "Traceback" not in result.stderr
        and all(part in errors[0] for part in parts)
    )


def weights(folder: Path) -> dict[str, str]:
    """Digest of every tensor file of finished artifacts."""
    files = folder.glob("artifacts/*/*/*.safetensors")
    return {str(file.relative_to(folder)): file_hash(file) for file in files if ".partial" not in file.parts}


def whole(folder: Path) -> Trial:
    """A run that nothing happens to, which the others are compared with."""
    result = run("evaluate", folder, "methods=all")
    return "undisturbed run", result.returncode == 0, result.stderr[-300:]


def sound(folder: Path) -> tuple[bool, str]:
    """Whether every artifact that is called finished is whole, and what is wrong with the first that is not."""
    try:
        for files in folder.glob("artifacts/*/*/files.json"):
            _check(files.parent)
    except WeightgenError as error:
        return False, str(error)
    return True, ""


def kills(folder: Path, undisturbed: Path, count: int, seed: int) -> Iterator[Trial]:
    """A run killed `count` times, by several signals, in its group, its parent or a worker, then finished."""
    draw = random.Random(seed)
    for number in range(count):
        process = subprocess.Popen(
            command("evaluate", folder, "methods=all"),
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(3, 14))
        kind = draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        target = draw.choice(["group", "parent", "worker"])
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        try:
            if target == "group":
                os.killpg(process.pid, kind)
            else:
                os.kill(int(draw.choice(children)) if target == "worker" and children else process.pid, kind)
            process.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        if process.poll() is None:  # a worker's end may be survived
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        yield f"kill {number + 1}: {kind.name} to the {target}", *sound(folder)
    last = run("evaluate", folder, "methods=all")
    same = weights(folder) == weights(undisturbed)
    yield "the same command afterwards", last.returncode == 0 and same, last.stderr[-300:] + f" equal weights: {same}"


def full_disks(folder: Path) -> Iterator[Trial]:
    """Training on disks that are too small, which then grow. Where no disk can be mounted nothing is tried."""
    for size in SIZES:
        place = folder / f"disk{size}"
        place.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True).returncode:
            return
        try:
            first = run("train_base", place)
            told = first.returncode == 0 or one_line(first, "the disk is full")
            subprocess.run(["mount", "-o", "remount,size=500m", str(place)], check=True)
            second = run("train_base", place)
            yield f"a disk of {size} MB", told and second.returncode == 0, first.stderr[-300:] + second.stderr[-300:]
        finally:
            subprocess.run(["umount", str(place)], capture_output=True)


def writers(undisturbed: Path) -> Iterator[Trial]:
    """Three processes that write the report of one finished run at once."""
    shutil.rmtree(undisturbed / "reports")
    given = command("evaluate", undisturbed, "methods=all")
    together = [
        subprocess.Popen([*given, f"hydra.run.dir={undisturbed}/outputs{i}"], cwd=ROOT, stdout=-3, stderr=-1, text=True)
        for i in range(3)
    ]
    for number, process in enumerate(together, 1):
        errors = process.communicate(timeout=600)[1]
        yield f"writer {number} of 3", process.returncode == 0, errors[-300:]
    report = undisturbed / "reports" / "smoke" / "report.md"
    left = [path.name for path in report.parent.rglob(".*.tmp")]
    yield "one whole report", report.read_text().rstrip().endswith("</details>") and not left, str(left)

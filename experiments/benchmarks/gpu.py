"""Everything that needs a GPU, one part after the other, in a folder; what is finished is not done again."""

import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from experiments.pipeline.progress import spell
from experiments.training.provenance import provenance
from weightgen.errors import WeightgenError
from weightgen.files import read_json, write_json, write_text

log = logging.getLogger(__name__)
RECORD = "parts.json"


@dataclass(frozen=True)
class Part:
    """One command: an app with its options. result: the page that it leaves; seconds: it is ended after so many."""

    name: str
    app: str
    result: str
    options: Sequence[str]
    seconds: float

    def command(self) -> list[str]:
        return [sys.executable, "-m", f"experiments.{self.app}", *self.options]

    def told(self) -> str:
        return f"python -m experiments.{self.app} {shlex.join(self.options)}"

    def run(self) -> dict[str, Any]:
        """-> its command, seconds and exit code (124: its time was up)."""
        start = time.monotonic()
        try:
            exit_code = subprocess.run(self.command(), timeout=self.seconds).returncode
        except subprocess.TimeoutExpired:
            exit_code = 124
        return {"command": self.told(), "seconds": time.monotonic() - start, "exit": exit_code}


def parts(gpu: bool, folder: Path, given: Sequence[str]) -> list[Part]:
    """The benchmarks, `smoke` with every method, and a comparison; without a GPU all of them at the size of tests.

    given: options of the command line, which come last in each of them.
    """
    common = ["logger=csv", f"paths.reports={folder}", *given]
    sizes = ["experiment=gpu", "photos=bundled"] if gpu else ["experiment=smoke", "bench=smoke"]
    compared = ["experiment=gpu_short"] if gpu else ["experiment=smoke", "recipe=gpu_short", "pairs=4"]
    return [
        Part("bench", "bench", f"{folder}/bench/README.md", [*sizes, f"bench.folder={folder}/bench", *common], 300),
        Part("smoke", "evaluate", f"{folder}/smoke/report.md", ["experiment=smoke", "methods=all", *common], 240),
        Part("comparison", "evaluate", f"{folder}/gpu_short/report.md", [*compared, *common], 600),
    ]


def run(cfg: DictConfig, given: Sequence[str]) -> None:
    """Run what is not finished, then write README.md. Raises WeightgenError where a part failed; the others are done, and
    where there is no GPU, unless the options say that the CPU will do."""
    stated = any(word.startswith("strategy=") for word in given)
    gpu, folder = cfg.strategy.trainer.accelerator == "gpu" or not stated, Path(cfg.paths.reports) / "gpu"
    if gpu and not torch.cuda.is_available():
        raise WeightgenError("no GPU is here: `make gpu ARGS=strategy=cpu` runs the same script at the size of tests")
    given = [word for word in given if not word.startswith(("paths.reports=", "hydra."))]
    wanted = parts(gpu, folder, given if stated else ["strategy=gpu", *given])
    known: dict[str, Any] = read_json(folder / RECORD) if (folder / RECORD).exists() else {}
    for number, part in enumerate(wanted, 1):
        record = known.get(part.name, {})
        if record.get("command") == part.told() and record.get("exit") == 0:
            log.info("%s (%d of %d): was done in %s", part.name, number, len(wanted), spell(record["seconds"]))
            continue
        log.info("%s (%d of %d): %s", part.name, number, len(wanted), part.told())
        known[part.name] = part.run()
        write_json(folder / RECORD, known)
        log.info("%s: exit code %d, %s", part.name, known[part.name]["exit"], spell(known[part.name]["seconds"]))
    write_text(folder / "README.md", page(wanted, known, folder))
    log.info("tables and pictures: %s/README.md", folder)
    if failed := [part.name for part in wanted if known[part.name]["exit"]]:
        raise WeightgenError(f"{', '.join(failed)} did not end well: the same command tries again what failed")


def page(wanted: Sequence[Part], known: Mapping[str, Any], folder: Path) -> str:
    """README.md: the device, versions, and a row a part: its seconds, what it left, its command."""
    told = provenance()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "No GPU: a CPU, at the size of tests"
    versions = [f"Python {told['python']}", *(f"{name} {version}" for name, version in told["versions"].items())]
    lines = [f"# {device}", "", f"{', '.join(versions)}; commit {told['commit']}.", ""]
    lines += ["| part | seconds | exit code | left |", "|---|---|---|---|"]
    for part in wanted:
        place, record = Path(part.result).relative_to(folder), known[part.name]
        lines.append(f"| {part.name} | {record['seconds']:.0f} | {record['exit']} | [{place}]({place}) |")
    return "\n".join([*lines, "", "```bash", *(part.told() for part in wanted), "```", ""])

"""Ablation studies: one axis swept with Hydra, gathered into a table, a figure and a README. `make study STUDY=block_size`.

Every job evaluates one value of the axis, leaves it in reports/<recipe>/studies/<name>/runs and gathers what
there is; a value whose artifacts and rows are finished is skipped, so running again resumes.
"""

import hashlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments.command.app import CONF, explain
from experiments.pipeline.build import Pipeline
from experiments.reports.console import print_table
from experiments.reports.runs import finished_rows, pipelines_of, run_specs
from experiments.sweeps.jobs import withdraw
from experiments.sweeps.study_report import PLAN, file_name, gather
from weightgen.errors import WeightgenError
from weightgen.evaluation.results import read_numbers, write_results
from weightgen.files import write_json

log = logging.getLogger(__name__)
SHOWN = {
    "value": "value",
    "split": "split",
    "method": "method",
    "gap_closed": "gap closed",
    "gap_closed_low": "low",
    "gap_closed_high": "high",
    "fid_start": "FID at 0",
    "fid_end": "FID at end",
}  # of table.csv, on the console
# Where things lie and who watches: no part of a result, nor of the command that repeats it.
IRRELEVANT = ("strategy.workers", "study", "experiment")


class Plan(Callback):
    """Writes plan.json, the values of a sweep, before its first job; fails a sweep of which nothing could be run."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        study = config.get("study")
        if study is None:
            return
        given = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        sweeps = [o.key_or_group for o in given if o.is_sweep_override()]
        if others := [key for key in sweeps if key != study.axis]:
            _stop(f"study {study.name} sweeps {study.axis} alone: give {', '.join(others)} one value")
        settings = [_shown(o.input_line) for o in given if not _irrelevant(o.key_or_group)]
        values = _values(study.axis, config.hydra.sweeper.params, given)
        labels = {str(key): str(name) for key, name in OmegaConf.to_container(study.labels).items()}
        names = {value: labels.get(value, value) for value in values}
        if len({file_name(name) for name in names.values()}) < len(names):
            _stop(f"{study.axis}={','.join(values)}: give each value once")
        make = f"make study STUDY={study.name} EXP={config.recipe}"
        plan = {
            "study": study.name,
            "question": study.question,
            "recipe": config.recipe,
            "axis": study.axis,
            "values": [{"value": value, "label": name} for value, name in names.items()],
            "finetune": study.finetune,
            "notes": list(study.notes),
            "settings": [line for line in settings if line.split("=")[0] != study.axis],
            "command": make + (f' ARGS="{" ".join(settings)}"' if settings else ""),
        }
        folder = study_folder(config)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / PLAN, plan)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        study = config.get("study")
        if study is None:
            return
        folder = study_folder(config)
        if not (folder / "table.csv").exists():
            _stop(f"study {study.name}: no value of {study.axis} could be run")
        print_table(f"{study.name}: gap closed", SHOWN | {"value": study.axis}, read_numbers(folder / "table.csv"))
        print(f"table, figure and reading: {folder}/README.md", flush=True)


def _stop(message: str) -> None:
    # Hydra turns a callback's exceptions into warnings, an exit it respects.
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def _irrelevant(key: str) -> bool:
    return key in IRRELEVANT or key.split(".")[0] in ("paths", "logger", "fleet")


def _shown(override: str) -> str:
    """A folder of this machine is nobody else's."""
    key, _, value = override.partition("=")
    return f"{key}=<folder>" if Path(value).is_absolute() else override


def _values(axis: str, params: DictConfig, given: list[Any]) -> list[str]:
    """The axis' values, of the command line if it names them, as the jobs' overrides spell them."""
    own = OmegaConf.to_container(params)[axis]
    override = OverridesParser.create().parse_override(f"{axis}={own}")
    override = next((o for o in reversed(given) if o.key_or_group == axis), override)
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator())


def study_folder(cfg: DictConfig) -> Path:
    return Path(cfg.paths.reports) / cfg.recipe / "studies" / cfg.study.name


def this_value(axis: str) -> str:
    """The axis' value of this job."""
    given = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    return next(o.get_value_element_as_str() for o in reversed(given) if o.key_or_group == axis)


def step_zero(cfg: DictConfig) -> DictConfig:
    """The same without fine-tuning."""
    none = {kind: {"steps": 0, "points": []} for kind in ("lora", "own")}
    return OmegaConf.merge(cfg, {"budget": {"finetune": none}})


def facts(pipeline: Pipeline) -> dict[str, Any]:
    """What the rows do not say about the weight generator of a variant."""
    denoised = [method for method in pipeline.methods if "generator" in pipeline.init_class(method).needs]
    if not denoised:
        return {"denoised": []}
    return {
        "denoised": denoised,
        "denoiser_seconds": pipeline.store.metrics(pipeline.denoiser)["seconds"],
        "blocks": pipeline.store.metrics(pipeline.blocks)["blocks"],
    }


def evaluate_value(cfg: DictConfig, folder: Path, common: dict[str, Any]) -> None:
    """Evaluate one value: runs/<label>.csv, then runs/<label>.json, which says that the rows are whole."""
    rows_path = folder / "runs" / f"{file_name(common['label'])}.csv"
    start = time.perf_counter()
    pipelines = pipelines_of(cfg if cfg.study.finetune else step_zero(cfg))
    keys = [spec.key for pipeline in pipelines for spec in run_specs(pipeline)]
    fingerprint = hashlib.sha256(" ".join(keys).encode()).hexdigest()
    record = rows_path.with_suffix(".json")
    before = json.loads(record.read_text()) if record.exists() else {}
    if before.get("fingerprint") == fingerprint and rows_path.exists():
        if before | common != before:
            write_json(record, before | common)
        log.info("%s: finished before", common["label"])
        return
    rows = finished_rows(pipelines)
    write_results(rows_path, rows)
    done = {
        "status": "done",
        "fingerprint": fingerprint,
        "wall_seconds": time.perf_counter() - start,
        "bases": {pipeline.cfg.base: facts(pipeline) for pipeline in pipelines},
    }
    write_json(record, common | done)
    log.info("%s: %.0f s", common["label"], done["wall_seconds"])


def run(cfg: DictConfig) -> None:
    if cfg.get("study") is None:
        known = sorted(p.stem for p in Path(CONF, "study").glob("*.yaml"))
        raise WeightgenError(f"say which study: study=<one of {', '.join(known)}>, or make study STUDY=...")
    folder = study_folder(cfg)
    plan = json.loads((folder / PLAN).read_text())
    value = this_value(cfg.study.axis)
    label = next(known["label"] for known in plan["values"] if known["value"] == value)
    common = {"value": value, "label": label, "settings": plan["settings"]}
    (folder / "runs").mkdir(exist_ok=True)
    try:
        evaluate_value(cfg, folder, common)
    except (WeightgenError, InstantiationException) as error:
        reason = explain(error)
        if reason is None:
            raise
        # The sweep goes on: the table's notes say what could not be had here, and why.
        withdraw()
        print(f"{cfg.study.axis}={value} could not be run: {reason}", file=sys.stderr, flush=True)
        write_json(folder / "runs" / f"{file_name(label)}.json", common | {"status": "absent", "reason": reason})
    gather(folder)

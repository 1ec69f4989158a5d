"""What a multirun ends with: a table of its jobs, a figure, and where both are. `make sweep`."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from weightgen.evaluation.curves import mean
from weightgen.evaluation.results import Table, write_table

SCORES = ("fid", "l1", "value")  # lower is better: what the figure shows of those that there are


class SweepTable(Callback):
    """Writes reports/<recipe>/sweeps/<time>.csv and .png; a study has a table of its own."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        records = [json.loads(path.read_text()) for path in Path(config.hydra.sweep.dir).rglob("job.json")]
        if not records or config.get("study") is not None:
            return
        from experiments.reports.console import print_table  # Hydra makes callbacks before it knows what to run
        from weightgen.evaluation.figures.charts import sweep_figure

        table, asked = job_table(sorted(records, key=lambda record: record["number"]))
        path = Path(config.paths.reports) / config.recipe / "sweeps" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}.csv"
        write_table(path, list(table[0]), table)
        print_table(f"{config.recipe}: {len(table)} jobs", {name: name for name in table[0]}, table)
        print(f"table: {path}", flush=True)
        scores = {name: [row[name] for row in table] for name in SCORES if any(row.get(name) for row in table)}
        if scores:
            names = [" ".join(f"{key}={row[key]}" for key in asked) or str(row["job"]) for row in table]
            sweep_figure(names, scores, path.with_suffix(".png"))
            print(f"figure: {path.with_suffix('.png')}", flush=True)


def job_table(records: Sequence[dict[str, Any]]) -> tuple[Table, list[str]]:
    """-> a row per job, all with the same keys, and the options that differ between jobs.

    records: what jobs say of themselves (job.json). Keys: job, those options, status, artifacts (how many the job is
    for), then the job's own value or values, and of its artifacts' numbers the means, FID's geometric.
    """
    options = [dict(line.lstrip("+").split("=", 1) for line in record["overrides"]) for record in records]
    names = list(dict.fromkeys(name for given in options for name in given))
    asked = [name for name in names if len({given.get(name) for given in options}) > 1]
    scores = [_value(record.get("value")) | _means(record["artifacts"]) for record in records]
    found = list(dict.fromkeys(name for row in scores for name in row))
    table = []
    for record, given, row in zip(records, options, scores, strict=True):
        head = {"job": record["number"]} | {name: given.get(name) for name in asked}
        state = {"status": record["status"], "artifacts": len(record["artifacts"])}
        table.append(head | state | {name: row.get(name) for name in found})
    return table, asked


def _value(value: Any) -> dict[str, Any]:
    """What a job returned: a number, or numbers by name."""
    return value if isinstance(value, dict) else {} if value is None else {"value": value}


def _means(artifacts: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Over the finished ones, of the numbers that all of them have."""
    files = [Path(artifact["path"]) / "metrics.json" for artifact in artifacts]
    found = [json.loads(path.read_text()) for path in files if path.exists()]
    names = [name for name in (found[0] if found else {}) if all(_number(row.get(name)) for row in found)]
    return {name: mean((row[name] for row in found), name) for name in names}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The benchmarks' runner and app: ratios of known callables, and a table that survives a kill."""

import csv
from pathlib import Path

import pytest
import torch

import experiments.benchmarks.suite as bench
from experiments.benchmarks.problem import Setting
from experiments.benchmarks.report import readme, verdict
from experiments.benchmarks.runner import COLUMNS, Contest, Result, Side, Stopwatch, measure
from experiments.pipeline.ranks import ranks
from experiments.pipeline.runtime import Runtime
from tests.helpers.bench import CPU, configured, fake, tiny
from weightgen.errors import WeightgenError


def test_ratios_are_taken_within_pairs_and_the_warm_up_is_left_out() -> None:
    sides = fake(100, 4, 6, 9), fake(100, 2, 2, 1)
    row, target, note = measure(Contest("a", "ms/step", *sides, target=2.0), 3, CPU, "toaster")
    assert tuple(row) == COLUMNS
    assert (row["name"], row["device"]) == ("a [ms/step]", "toaster")
    assert (row["baseline"], row["ours"]) == (6000, 2000)
    assert (row["ratio_median"], row["ratio_min"], row["ratio_max"]) == (3, 2, 9)
    assert (target, note) == (2.0, "")


def test_sides_interleave() -> None:
    calls = []
    sides = (Side(lambda name=name: calls.append(name) or 1.0) for name in "ab")
    measure(Contest("order", "s", *sides), 2, CPU, "")
    assert calls == ["a", "b", "a", "b", "a", "b"]


def test_a_rate_has_the_same_ratio_as_its_seconds() -> None:
    """2 concepts in 8 s are 900 an hour, 8 in 16 s are 1800: twice as many."""
    row = measure(Contest("f", "concepts/h", fake(8, 8, work=2), fake(16, 16, work=8)), 1, CPU, "").row
    assert (row["baseline"], row["ours"], row["ratio_median"]) == (900, 1800, 2)


def test_only_an_optional_row_may_fail_and_says_why() -> None:
    def broken() -> float:
        raise RuntimeError("no compiler\nat all")

    row, _, note = measure(Contest("c", "s", fake(1), Side(broken), optional=True), 1, CPU, "x")
    assert row == dict.fromkeys(COLUMNS) | {"name": "c [s]", "device": "x"}
    assert note == "RuntimeError: no compiler"
    with pytest.raises(RuntimeError, match="no compiler"):
        measure(Contest("c", "s", fake(1), Side(broken)), 1, CPU, "x")


def test_the_clock_reads_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmarks.runner.CLOCKS", {"wall": iter([5.0, 7.5]).__next__})
    assert Stopwatch(CPU)(lambda: None) == 2.5
    with pytest.raises(WeightgenError, match=r"bench\.clock=sun"):
        Stopwatch(CPU, "sun")


def test_cpu_time_is_refused_where_it_is_not_the_time_taken() -> None:
    assert Stopwatch(CPU, "cpu").now() >= 0
    with pytest.raises(WeightgenError, match=r"bench\.clock=wall"):
        Stopwatch(torch.device("cuda"), "cpu")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("ignore")
def test_every_family_writes_its_rows(tmp_path: Path) -> None:
    results = bench.run(tiny(f"paths.reports={tmp_path}"), "the command")
    rows = read(tmp_path / "bench" / "bench.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["name"] for row in rows] == [
        "fleet lanes C=2 1 steps 16 px [concepts/h]",
        "zoo N=2 against N=1 16 px [s/concept]",
        "step LoRA 16 px against a plain loop [ms/step]",
        "step fine-tune of all weights 16 px against a plain loop [ms/step]",
        "step LoRA on a lane 16 px against a plain loop [ms/step]",
        "step LoRA on a lane 16 px against Lightning [ms/step]",
        "step through the base on a lane 16 px against Lightning [ms/step]",
        "generation K=15 all blocks at once against one by one, block U-Net [s]",
        "generation K=15 one step against 2 [s]",
        "generation K=15 2 concepts in a batch against one at a time [s/concept]",
        "generation K=15 bf16 against float32 [s]",
        "generation K=15 a full set of 1928 parameters, baseline the target [s]",
        "blocks K=2 against K=1 [ms/block]",
        "evaluation cached 2 images 16 px [s]",
        "lean channels_last+bf16 16 px [ms/step]",
        "lean fused 16 px [ms/step]",
    ]
    for row in rows:
        assert row["device"] == "cpu x1"
        assert float(row["ratio_min"]) <= float(row["ratio_median"]) <= float(row["ratio_max"])
        assert min(float(row["baseline"]), float(row["ours"])) > 0
    text = (tmp_path / "bench" / "README.md").read_text()
    assert "the command" in text
    assert torch.__version__ in text
    assert all(result.row["name"] in text for result in results)
    assert (tmp_path / "bench" / "ratios.png").read_bytes().startswith(b"\x89PNG")


def test_finished_rows_outlive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def family(setting: Setting):
        yield Contest("done", "s", fake(1, 1), fake(1, 1))
        assert read(Path(setting.cfg.bench.folder) / "bench.csv")[0]["name"] == "done [s]"
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "FAMILIES", {"family": family})
    with pytest.raises(KeyboardInterrupt):
        bench.run(tiny(f"paths.reports={tmp_path}"), "")
    assert len(read(tmp_path / "bench" / "bench.csv")) == 1


def test_an_unknown_family_is_named_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(WeightgenError, match=r"\['flight'\]: use some of fleet, zoo, step"):
        bench.run(tiny("bench.only=[flight,step]"), "")


def test_a_missing_gpu_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert ranks(Runtime.of(configured())) == 1
    with pytest.raises(WeightgenError, match="add strategy=cpu"):
        ranks(Runtime.of(configured("experiment=gpu")))


@pytest.mark.parametrize(
    ("median", "best", "said"), [(1.6, 1.7, "met"), (1.4, 1.5, "within noise"), (1.2, 1.3, "missed")]
)
def test_the_verdict_on_a_target(median: float, best: float, said: str) -> None:
    row = dict.fromkeys(COLUMNS) | {"ratio_median": median, "ratio_max": best}
    assert verdict(Result(row, 1.5)) == f">= 1.5: {said}"
    assert verdict(Result(row)) == verdict(Result(dict.fromkeys(COLUMNS), 1.5)) == ""


def test_what_was_not_measured_is_told() -> None:
    results = [Result(dict.fromkeys(COLUMNS) | {"name": "lean compile [ms/step]"}, None, "no compiler")]
    assert "- lean compile [ms/step]: no compiler" in readme(tiny(), "", results)

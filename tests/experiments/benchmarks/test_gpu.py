"""`make gpu`: parts that compose, what is done is not done again, and a failure is named at the end."""

import json
import shlex

import pytest

from experiments.benchmarks import gpu
from experiments.benchmarks.gpu import Part
from experiments.options.check import check
from tests.helpers.apps import Runs, one_line_error
from tests.helpers.configs import composed
from weightgen.errors import WeightgenError


@pytest.mark.parametrize("on_gpu", [True, False])
def test_every_part_composes(on_gpu, tmp_path):
    given = ["strategy=gpu" if on_gpu else "strategy=cpu"]
    found = gpu.parts(on_gpu, tmp_path, given)
    assert [part.name for part in found] == ["bench", "smoke", "comparison"]
    assert sum(part.seconds for part in found) > 480
    for part in found:
        assert shlex.split(part.told())[1:] == part.command()[1:]
        cfg = composed(*part.options)
        check(cfg, required=part.app != "bench", together=False)
        assert cfg.strategy.trainer.accelerator == ("gpu" if on_gpu else "cpu")
        folder = cfg.bench.folder if part.app == "bench" else f"{cfg.paths.reports}/{cfg.recipe}"
        assert part.result.startswith(f"{folder}/")


def test_what_ended_well_is_not_run_again_and_what_failed_is(tmp_path, monkeypatch):
    ran = []

    def fake(part: Part):
        ran.append(part.name)
        return {"command": part.told(), "seconds": 1.0, "exit": int(part.name == "smoke" and len(ran) < 4)}

    monkeypatch.setattr(Part, "run", fake)
    cfg = composed("strategy=cpu", f"paths.reports={tmp_path}")
    with pytest.raises(WeightgenError, match=r"^smoke did not end well"):
        gpu.run(cfg, ["strategy=cpu"])
    assert ran == ["bench", "smoke", "comparison"]
    gpu.run(cfg, ["strategy=cpu"])
    assert ran[3:] == ["smoke"]
    page = (tmp_path / "gpu" / "README.md").read_text()
    assert "| smoke | 1 | 0 | [smoke/report.md](smoke/report.md) |" in page
    gpu.run(cfg, ["strategy=cpu", "seed=1"])  # another command is another part
    assert ran[4:] == ["bench", "smoke", "comparison"]
    assert set(json.loads((tmp_path / "gpu" / "parts.json").read_text())) == {"bench", "smoke", "comparison"}


def test_a_part_s_command_is_run_and_ended_when_its_time_is_up(monkeypatch):
    part = Part("bench", "bench", "", ["--help"], 60)
    record = part.run()
    assert (record["exit"], record["command"]) == (0, "python -m experiments.bench --help")
    assert Part("bench", "bench", "", ["--help"], 0.01).run()["exit"] == 124


def test_without_a_gpu_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one_line_error(Runs(tmp_path)("gpu", check=False), "make gpu ARGS=strategy=cpu")
    assert not (tmp_path / "reports").exists()

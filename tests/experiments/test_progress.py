"""A run says what it does and, asked beforehand, what it would do."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from experiments.command.app import explain
from experiments.command.help import help_text
from experiments.command.inventory import artifacts, prune
from experiments.pipeline import progress
from experiments.pipeline.plan import missing, plan
from experiments.training.provenance import learning_rates, provenance
from tests.helpers.apps import ROOT
from weightgen.artifacts import Spec, Store
from weightgen.errors import MissingArtifact, WeightgenError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, which only the test moves on; and stderr is no terminal."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    return now


def test_a_stage_of_many_parts_is_told_in_a_dozen_lines(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    parts = []
    for part in progress.reported(range(100), "lora", 100, lambda: "blocks 1"):
        parts.append(part)
        clock[0] += 3
    assert parts == list(range(100))
    assert caplog.messages[0] == "lora: begins, 100 to build"
    assert caplog.messages[1] == "lora: 10 of 100 in 30 s, about 270 s to come".replace("270 s", "4 min")
    assert caplog.messages[-1] == "lora: done, 100 in 5 min; left: blocks 1"
    assert len(caplog.messages) == 11


def test_a_single_part_is_two_lines(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in progress.reported(["base"], "base", 1):
        clock[0] += 7200
    assert caplog.messages == ["base: begins", "base: done in 2.0 h"]


@pytest.fixture
def chain(tmp_path: Path) -> tuple[Store, list[Spec]]:
    """Two LoRAs on a base, of which the first is finished; seconds are known of it."""
    store = Store(tmp_path / "artifacts", lambda: {"commit": "abc"})
    base = Spec("base", 1, {"steps": 3}, label="base")
    loras = [Spec("lora", 1, {"concept": k}, (base,), label=f"lora {k}") for k in range(3)]
    store.ensure(base, lambda folder: {})
    store.ensure(loras[0], lambda folder: {"seconds": 4.0})
    return store, [Spec("blocks", 1, {}, tuple(loras), label="blocks")]


def test_a_plan_counts_what_is_missing_and_knows_what_such_things_took(chain: tuple[Store, list[Spec]]) -> None:
    store, specs = chain
    assert [spec.label for spec in missing(store, specs)] == ["lora 1", "lora 2", "blocks"]
    lines = plan(store, specs, ["base", "lora", "blocks"]).splitlines()
    assert [line.split() for line in lines[1:3]] == [["lora", "2", "8.0", "s"], ["blocks", "1", "unknown"]]
    assert "8.0 s" in lines[3]
    assert plan(store, specs[0].inputs[:1], ["lora"]) == "nothing is to be built: every artifact is there"


def test_an_artifact_says_which_code_built_it_and_where_it_lies(chain: tuple[Store, list[Spec]]) -> None:
    store, specs = chain
    lora = specs[0].inputs[0]
    assert json.loads((store.path(lora) / "provenance.json").read_text()) == {"commit": "abc"}
    assert progress.ended(store, lora) == f"lora 0: seconds 4 -> {store.path(lora)}"
    assert set(provenance()["versions"]) >= {"torch", "weightgen"}
    budget = {"steps": 4, "optimizer": {"lr": 0.1}, "discriminator_optimizer": {"lr": 0.2}}
    assert learning_rates({"budget": budget}) == {"budget.optimizer.lr": 0.1, "budget.discriminator_optimizer.lr": 0.2}


def test_pruning_keeps_what_a_recipe_needs_and_lists_before_it_deletes(
    chain: tuple[Store, list[Spec]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, specs = chain
    base = specs[0].inputs[0].inputs[0]
    monkeypatch.setattr("experiments.command.inventory.used", lambda recipe, root: {("base", base.key)})
    assert "1 artifacts" in prune(store.root, ["toy"], force=False)
    assert [a.label for a in artifacts(store.root)] == ["base", "lora 0"]
    assert prune(store.root, ["toy"], force=True).startswith("lora")
    assert [(a.stage, a.key, a.label) for a in artifacts(store.root)] == [("base", base.key, "base")]
    with pytest.raises(WeightgenError, match="prune <recipe>"):
        prune(store.root, [], force=True)


def test_a_missing_artifact_names_the_command_that_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ["experiment=smoke", "build_missing=false", "init=mean", "photos.root=$HOME/a b"]
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({"overrides": {"task": task}}))
    told = explain(MissingArtifact("lora 12ab (lora ink) is missing: run `make loras`"))
    assert told.endswith("""run `make loras EXP=smoke ARGS="init=mean 'photos.root=$$HOME/a b'"`""")


def test_help_says_what_the_app_does_in_less_than_forty_lines() -> None:
    text = help_text("experiments.pipeline.plan")
    assert text.startswith("`+plan=true`")
    assert len(text.splitlines()) < 40
    assert "paper_faces" in text


def app(folder: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def test_help_is_quick(tmp_path: Path) -> None:
    before = os.times()
    said, _ = app(tmp_path, "experiments.finetune", "--help").communicate(timeout=60)
    after = os.times()
    assert said.startswith("Stage 7: fine-tune")
    assert (after.children_user + after.children_system) - (before.children_user + before.children_system) < 2
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_one_line_and_leaves_no_process(tmp_path: Path) -> None:
    words = ["experiment=smoke", "logger=csv", "strategy.workers=2", "budget.lora.steps=100000"]
    process = app(tmp_path, "experiments.train_loras", *words)
    lines = []
    for line in process.stderr:  # until workers train
        lines.append(line)
        if "lora: begins" in line:
            break
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    lines += process.stderr.readlines()
    assert process.wait(timeout=60) == 130
    assert lines[-1] == "interrupted: the same command goes on from here\n"
    assert "Traceback" not in "".join(lines)
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a worker outlives the run")

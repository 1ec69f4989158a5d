"""Searches: validation concepts alone, continued after a kill, failures named and repeated."""

import json
from pathlib import Path

import pytest

from experiments.pipeline.build import Pipeline
from experiments.sweeps import search
from tests.helpers.configs import composed
from weightgen.errors import WeightgenError

SMOKE = ("experiment=smoke", "search=lora")


def upstream(specs: list) -> set:
    """`specs` and everything they are built from."""
    found, left = set(), list(specs)
    while left:
        if (spec := left.pop()) not in found:
            found.add(spec)
            left += spec.inputs
    return found


@pytest.mark.parametrize("option", ["lora", "denoiser"])
def test_no_unseen_concept_is_touched(option: str) -> None:
    pipeline = Pipeline(search.changed(composed("experiment=smoke", f"search={option}"), {}))
    specs = search.targets(pipeline)
    validation = {concept.prompt for concept in pipeline.split("validation")}
    assert {spec.subject[1].prompt for spec in specs} == validation
    seen = {spec.config["prompt"] for spec in upstream(specs) if spec.stage in ("pairs", "init")}
    assert seen <= validation | {concept.prompt for concept in pipeline.split("train")}
    unseen = {c.prompt for c in pipeline.concepts if c.split.startswith("unseen")}
    assert unseen
    described = json.dumps([dict(spec.config) for spec in upstream(specs)])
    assert not [prompt for prompt in unseen if prompt in described]


def test_a_trials_values_change_their_options_alone() -> None:
    cfg = composed(*SMOKE)
    new = search.changed(cfg, {"budget.lora.optimizer.lr": 0.5, "lora.ranks.transformer": 3})
    assert (new.budget.lora.optimizer.lr, new.lora.ranks.transformer) == (0.5, 3)
    assert new.budget.lora.steps_own == cfg.budget.lora.steps
    assert cfg.budget.lora.optimizer.lr == 0.01
    assert [new.budget.finetune[kind].steps for kind in ("lora", "own")] == [0, 0]


@pytest.mark.parametrize("option", ["lora", "denoiser"])
def test_every_space_names_options_that_there_are(option: str) -> None:
    cfg = composed("experiment=smoke", f"search={option}")
    for about in cfg.search.space:
        search.changed(cfg, {about.option: about.get("low", about.get("choices", [None])[0])})


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(WeightgenError, match=r"budget\.lora\.nosuch"):
        search.changed(composed(*SMOKE), {"budget.lora.nosuch": 1})


SPACE = [{"option": "x", "low": 0.0, "high": 1.0}, {"option": "k", "low": 1, "high": 4, "int": True}]


def trials(folder: Path, count: int = 6, settings: str = "a"):
    pytest.importorskip("optuna", reason="the extra optuna")
    from experiments.sweeps.trials import Trials

    return Trials(folder, SPACE, count, 0, settings)


def values(folder: Path) -> list[tuple]:
    return [tuple(trial.params.values()) for trial in trials(folder)._counted()]


def run(own, stop_after: int = 99) -> None:
    while stop_after and (trial := own.next()):
        stop_after -= 1
        own.done(trial, (trial.params["x"] - 0.3) ** 2)


def test_an_interrupted_search_is_the_uninterrupted_one(tmp_path: Path) -> None:
    run(trials(tmp_path / "whole"))
    run(trials(tmp_path / "cut"), stop_after=2)
    killed = trials(tmp_path / "cut")
    begun = killed.next()
    for lock in killed.held.values():  # what the end of its process does
        lock.release()
    again = trials(tmp_path / "cut")
    assert again.next().params == begun.params

    for lock in again.held.values():
        lock.release()
    run(trials(tmp_path / "cut"))
    assert values(tmp_path / "cut") == values(tmp_path / "whole")
    assert len(values(tmp_path / "cut")) == 6


def test_processes_never_take_more_than_asked_nor_one_another_s(tmp_path: Path) -> None:
    one, two = trials(tmp_path, count=3), trials(tmp_path, count=3)
    taken = [one.next(), two.next(), one.next(), two.next()]
    assert taken[3] is None
    third = trials(tmp_path, count=3)  # begins while they run: nothing of theirs is abandoned
    assert third.next() is None
    assert len({trial.number for trial in taken[:3]}) == 3


def test_a_failed_trial_is_repeated_by_the_next_run_with_its_values(tmp_path: Path) -> None:
    first = trials(tmp_path, count=2)
    bad = first.next()
    first.failed(bad, "no disk")
    run(first)
    assert "no disk" in (tmp_path / "trials.csv").read_text()
    second = trials(tmp_path, count=2)
    repeated = second.next()
    assert repeated.params == bad.params
    second.done(repeated, 0.5)
    assert second.next() is None
    assert "failed" not in (tmp_path / "trials.csv").read_text().replace("fail,", "failed,")


def test_the_best_is_written_as_overrides_and_diverged_trials_are_avoided(tmp_path: Path) -> None:
    own = trials(tmp_path, count=3)
    for value in (0.5, None, 0.2):
        trial = own.next()
        own.done(trial, value) if value else own.unusable(trial, "diverged")
    best = own.best()
    assert best.value == 0.2
    assert f"x={best.params['x']}" in (tmp_path / "best.yaml").read_text()
    assert trials(tmp_path, count=3).next() is None  # what was of no use is not repeated


def test_other_settings_want_another_name(tmp_path: Path) -> None:
    trials(tmp_path)
    with pytest.raises(WeightgenError, match=r"search\.name="):
        trials(tmp_path, settings="b")


def test_a_search_says_how_to_install_optuna(tmp_path: Path, monkeypatch) -> None:
    from experiments.sweeps import trials as _trials

    monkeypatch.setattr(_trials, "optuna", None)
    with pytest.raises(WeightgenError, match=r"pip install -e '\.\[optuna\]'"):
        _trials.Trials(tmp_path, SPACE, 1, 0, "")


def loras_of_steps(folder: Path, steps: int) -> dict[Path, int]:
    """When each LoRA of a number of steps was made: other tests add artifacts of their own to the same store meanwhile."""
    specs = (folder / "artifacts/lora").glob("*/spec.json")
    return {path: path.stat().st_mtime_ns for path in specs if f'"steps": {steps},' in path.read_text()}


def test_a_search_runs_from_the_command_line_and_fails_by_name(smoke, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra optuna")
    options = ["search=lora", "sweep.app=search", "search.trials=2", "logger=csv", "strategy.workers=1"]
    options += [f"paths.reports={tmp_path}", "budget.lora.steps=7"]
    broken = "search.space=[{option: budget.lora.batch_size, choices: [4, none]}]"
    failed = smoke("sweep", "-m", *options, broken, "search.name=broken", check=False)
    assert failed.returncode == 1
    assert "jobs did not finish" in failed.stderr
    assert "batch_size=none" in failed.stderr
    smoke("sweep", "-m", *options)
    folder = tmp_path / "smoke/search/lora"
    assert len((folder / "trials.csv").read_text().splitlines()) == 3
    made = loras_of_steps(smoke.folder, 7)
    assert made
    smoke("sweep", "-m", *options)
    assert loras_of_steps(smoke.folder, 7) == made

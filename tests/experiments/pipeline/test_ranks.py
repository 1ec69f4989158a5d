"""Two processes that share a stage's batches end with the weights, rates and scores of one."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from joblib import Parallel, delayed
from torch import nn

from experiments.pipeline.ranks import Environment, Followed, group, rank, ranks, world
from experiments.training.fit import fit, shared, tracked
from tests.helpers import ranks as cases
from weightgen.errors import WeightgenError


@dataclass(frozen=True)
class Outcome:
    trained: cases.Trained
    score: float
    follower: dict


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return Outcome(*cases.train(cases.ALONE, tmp_path_factory.mktemp("alone")), {})


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("together")
    with group(2, False, cases.follow, folder):
        assert (rank(), world()) == (0, 2)
        trained, score = cases.train(cases.TOGETHER, folder)
    assert (rank(), world()) == (0, 1)
    return Outcome(trained, score, json.loads((folder / "follower.json").read_text()))


RUNS = [(case, stage.__name__) for case, _, stages in cases.TOGETHER for stage in stages]


@pytest.mark.parametrize(("case", "stage"), RUNS)
def test_two_processes_train_the_weights_of_one(alone: Outcome, together: Outcome, case: str, stage: str) -> None:
    expected, _ = alone.trained["alone", stage]
    weights, _ = together.trained[case, stage]
    assert weights.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize("stage", ["denoiser", "base"])
def test_a_batch_in_parts_trains_the_same_weights(alone: Outcome, stage: str) -> None:
    for name, weight in alone.trained["alone", stage][0].items():
        torch.testing.assert_close(alone.trained["parts", stage][0][name], weight, atol=1e-4, rtol=0, msg=name)


@pytest.mark.parametrize(("case", "stage"), RUNS)
def test_learning_rates_step_on_every_rank(alone: Outcome, together: Outcome, case: str, stage: str) -> None:
    expected = alone.trained["alone", stage][1]
    every = 2 if "parts" in case and stage == "denoiser" else 1  # such a batch ends twice
    assert len({rate for (rate, *_) in expected}) > 3
    assert together.trained[case, stage][1][every - 1 :: every] == expected
    assert together.follower["rates"][f"{case} {stage}"][every - 1 :: every] == expected


def test_fid_is_one_score_of_all_ranks_images(alone: Outcome, together: Outcome) -> None:
    assert alone.score > 1
    assert abs(together.score - alone.score) < 1e-3
    assert together.follower["score"] == together.score
    halves = [cases.distance(cases.IMAGES[i::2]) for i in range(2)]
    assert abs(sum(halves) / 2 - alone.score) > 0.01  # a mean of the ranks' scores would be another number


def test_a_job_of_the_joblib_launcher_may_start_processes() -> None:
    assert Parallel(n_jobs=2, backend="loky")([delayed(cases.meet)()]) == [(2, 1)]


def _die(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_training(folder: Path) -> None:
    cases.Seen.on_train_batch_end = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    cases.follow(folder)


@pytest.mark.parametrize("follow", [_die, _die_in_training])
def test_a_killed_follower_is_one_line_with_a_remedy(tmp_path: Path, follow) -> None:
    started = time.monotonic()
    with pytest.raises(WeightgenError, match=r"process 1 of 2 ended with signal 9: run the same command again"):
        with group(2, False, follow, tmp_path):
            cases.train(cases.TOGETHER, tmp_path)
    assert world() == 1
    assert time.monotonic() - started < 300


def test_a_follower_ends_where_logging_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a builder does after its `tracked` block is writing, which is rank 0's alone."""
    monkeypatch.setattr("experiments.training.fit.rank", lambda: 1)
    reached = []
    with pytest.raises(Followed):
        with tracked(cases.runtime(), tmp_path) as loggers:
            reached.append(loggers)
    assert reached == [[]]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.Dropout(0.1)])
def test_what_depends_on_the_cut_is_refused(layer: nn.Module, tmp_path: Path) -> None:
    module = cases.BlockDiffusionModule(nn.Sequential(layer), cases.make_scheduler(), cases.adam)
    with pytest.raises(WeightgenError, match=rf"{type(layer).__name__} .*strategy\.ranks=1 strategy\.accumulate=1"):
        fit(cases.runtime("strategy.accumulate=2"), module, range(1), tmp_path, [], bar=False, parallel="denoiser")


def test_concepts_of_their_own_are_trained_by_one_process_whatever_the_strategy() -> None:
    runtime = cases.runtime("strategy=ddp_cpu", "strategy.accumulate=2")
    batches = range(3)
    assert shared(runtime, cases.TranslatorModule(nn.Identity(), None, cases.adam), batches, None) == ({}, batches)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["strategy=gpu"], "add strategy=cpu"),
        (["strategy=ddp"], "add strategy=cpu"),
        (["strategy=fsdp"], "add strategy=cpu"),
        (["strategy=deepspeed"], r"pip install -e '\.\[deepspeed\]'"),
        (["strategy=cpu", "strategy.ranks=2"], "strategy=ddp_cpu"),
    ],
)
def test_what_this_machine_cannot_run_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], said: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("experiments.pipeline.ranks.find_spec", lambda name: None)
    with pytest.raises(WeightgenError, match=said):
        ranks(cases.runtime(*overrides))


def test_deepspeed_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("experiments.pipeline.ranks.find_spec", lambda name: object())
    with pytest.raises(WeightgenError, match="needs a GPU"):
        ranks(cases.runtime("strategy=deepspeed"))


def test_ranks_are_one_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 3)
    assert ranks(cases.runtime("strategy=ddp")) == 3
    assert ranks(cases.runtime("strategy=gpu")) == 1
    with pytest.raises(WeightgenError, match=r"strategy\.ranks=4, but torch sees 3 GPUs"):
        ranks(cases.runtime("strategy=ddp", "strategy.ranks=4"))


def test_lightning_starts_no_process_of_its_own() -> None:
    assert Environment().creates_processes_externally
    assert not Environment.detect()

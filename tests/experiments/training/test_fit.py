"""How a module is run (strategy) changes neither what it learns nor what can be stored."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from experiments.benchmarks.problem import Problem
from experiments.pipeline.runtime import Runtime
from experiments.training.best import BestOnValidation
from experiments.training.csv_log import CsvLog, read
from experiments.training.fit import fit
from tests.helpers.configs import composed
from weightgen.artifacts import Spec
from weightgen.batches import Batches, PairBatches, Pairs, Texts
from weightgen.translation.lora import lora_state
from weightgen.translation.nets.unet import UNetGenerator
from weightgen.translation.training import TranslatorModule


@pytest.mark.filterwarnings("ignore")
def test_channels_last_trains_the_same_and_leaves_contiguous_weights(tmp_path: Path) -> None:
    states, seen = [], []
    for wanted in (False, True):
        cfg = composed("experiment=bench", f"strategy.channels_last={wanted}", "translator.width=8")
        work = Problem(cfg, 16)
        module = work.module(3)
        stem = module.generator.stem
        stem.register_forward_hook(
            lambda layer, _, out: seen.append(out.is_contiguous(memory_format=torch.channels_last))
        )
        fit(Runtime.of(cfg), module, work.batches(0, 3), tmp_path / str(wanted), [], bar=False)
        states.append(lora_state(module.generator))
        assert all(p.is_contiguous() for p in module.parameters())
    assert seen == [False] * 3 + [True] * 3
    for name, weight in states[0].items():
        torch.testing.assert_close(weight, states[1][name], atol=1e-4, rtol=0, msg=name)
        assert weight.any()


class Interrupted(Exception):
    pass


class Stop(pl.Callback):
    """Ends training after `steps` batches as a kill would; 0: never."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer, module, *args) -> None:
        if args[-1] + 1 == self.steps:
            raise Interrupted


def trained_with_dropout(folder: Path, key: int, before: int, stop: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a U-Net with dropout after 6 steps; before: how many numbers the process has drawn till then."""
    noise = torch.Generator().manual_seed(3)
    photos, edits = torch.randint(0, 256, (2, 6, 3, 16, 16), generator=noise, dtype=torch.uint8)
    texts = Texts(torch.randn(1, 3, 6, generator=noise), torch.ones(1, 3, dtype=torch.bool), [[0]])
    batches = PairBatches(Pairs(photos, [edits]), texts, 2, seed=3, steps=6)
    torch.manual_seed(0)
    module = TranslatorModule(UNetGenerator((4, 8, 8), 0.5), None, lambda p: torch.optim.Adam(p, 1e-3), max_steps=6)
    torch.manual_seed(before)
    runtime = Runtime.of(composed("experiment=smoke", "logger=csv", "budget.checkpoint_every=2"))
    fit(runtime.named(Spec("finetune", 1, {"key": key})), module, batches, folder, [], [Stop(stop)], bar=False)
    return {name: weight.clone() for name, weight in module.generator.state_dict().items()}


def test_dropout_is_a_function_of_key_and_step_also_after_a_kill(tmp_path: Path) -> None:
    whole = trained_with_dropout(tmp_path / "whole", 1, before=7)
    with pytest.raises(Interrupted):
        trained_with_dropout(tmp_path / "killed", 1, before=8, stop=3)
    resumed = trained_with_dropout(tmp_path / "killed", 1, before=9)
    other = trained_with_dropout(tmp_path / "other", 2, before=7)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], other[name]) for name in whole)


def test_seconds_of_attempts_before_a_kill_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks one second a batch: 6 batches, cut after 3 of which 2 are in the checkpoint, are 2 + 4."""
    now = [100.0]
    monkeypatch.setattr("experiments.training.checkpoints.time.perf_counter", lambda: now[0])

    class Tick(pl.Callback):
        def on_train_batch_start(self, *args: object) -> None:
            now[0] += 1.0

    def train(folder: Path, stop: int = 0) -> float:
        photos = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        texts = Texts(torch.zeros(1, 3, 6), torch.ones(1, 3, dtype=torch.bool), [[0]])
        batches = PairBatches(Pairs(photos, [photos]), texts, 2, seed=3, steps=6)
        module = TranslatorModule(UNetGenerator((4, 8, 8)), None, lambda p: torch.optim.Adam(p, 1e-3), max_steps=6)
        runtime = Runtime.of(composed("experiment=smoke", "logger=csv", "budget.checkpoint_every=2"))
        return fit(runtime, module, batches, folder, [], [Tick(), Stop(stop)], bar=False)

    assert train(tmp_path / "whole") == 6
    with pytest.raises(Interrupted):
        train(tmp_path / "killed", stop=3)
    now[0] += 1000  # between two attempts nobody counts
    assert train(tmp_path / "killed") == 6


def test_the_best_weights_on_what_is_held_out_are_kept(tmp_path: Path) -> None:
    """Losses 5, 3, 4 at steps 2, 4, 6: the weights of step 4, also where a kill came after it."""

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.step = nn.Parameter(torch.zeros(1)), 0

        def training_step(self, batch: object, index: int) -> torch.Tensor:
            self.last_losses = {}
            self.step = index + 1
            return self.weight.sum()

        def held_out_loss(self, batch: object) -> float:
            return {2: 5.0, 4: 3.0, 6: 4.0}[self.step]

        def averaged_state(self) -> dict[str, torch.Tensor]:
            return {"weight": self.weight.detach().clone()}

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1.0)

    def train(folder: Path, stop: int = 0) -> BestOnValidation:
        best = BestOnValidation({}, 2)
        runtime = Runtime.of(composed("experiment=smoke", "logger=csv", "budget.checkpoint_every=2"))
        batches = Batches(lambda step: {"x": torch.zeros(1)}, steps=6)
        fit(runtime, Net(), batches, folder, [CsvLog(folder / "log.csv")], [best, Stop(stop)], bar=False)
        return best

    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    with pytest.raises(Interrupted):
        train(tmp_path / "killed", stop=5)
    for best in (train(tmp_path / "whole"), train(tmp_path / "killed")):
        assert (best.loss, best.step, float(best.weights["weight"])) == (3.0, 4, -4.0)
    assert [row["validation/loss"] for row in read(tmp_path / "whole" / "log.csv")] == [5.0, 3.0, 4.0]

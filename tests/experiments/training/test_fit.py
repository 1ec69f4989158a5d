"""How a module is run (strategy) changes neither what it learns nor what can be stored."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from experiments.benchmarks.problem import Problem
from experiments.pipeline.runtime import Runtime
from experiments.training.fit import fit
from tests.helpers.configs import composed
from weightgen.artifacts import Spec
from weightgen.batches import PairBatches, Pairs, Texts
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

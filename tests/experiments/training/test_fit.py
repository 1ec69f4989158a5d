"""How a module is run (strategy) changes neither what it learns nor what can be stored."""

from pathlib import Path

import pytest
import torch

from experiments.benchmarks.problem import Problem
from experiments.pipeline.runtime import Runtime
from experiments.training.fit import fit
from tests.helpers.configs import composed
from weightgen.translation.lora import lora_state


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

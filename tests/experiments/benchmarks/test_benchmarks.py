"""What the benchmarks put against each other computes the same, and is measured where it runs."""

import os
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from experiments.benchmarks import memory
from experiments.benchmarks.fleet import Workers, fleet, worker_count
from experiments.benchmarks.generation import block_by_block, generator
from experiments.benchmarks.hand import OPTIONS, HandLoop
from experiments.benchmarks.memory import peak_mb
from experiments.benchmarks.problem import TEXT_DIM, Problem, Setting
from experiments.benchmarks.runner import measure
from tests.helpers.bench import CPU, TINY, configured, tiny
from weightgen.errors import WeightgenError
from weightgen.text.encoders import TextFeatures
from weightgen.translation.lora import LoraSpec, inject_lora, lora_parameters, merge_lora
from weightgen.weights.blocks import BlockLayout


def test_the_peak_sees_memory_that_is_gone_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    grown = peak_mb(lambda: torch.ones(20_000_000).sum(), CPU)  # 80 MB
    assert grown == pytest.approx(80, abs=12)
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "no_proc")
    assert peak_mb(lambda: None, CPU) is None


@pytest.mark.parametrize("adversarial", [True, False])
def test_the_plain_loop_computes_what_our_step_does(adversarial: bool) -> None:
    work = Problem(tiny(f"budget.lora.adversarial={adversarial}", "budget.lora.warmup_steps=2"), 16)
    module, batches = work.module(3), work.batches(1, 3)
    loop = HandLoop(work, work.adapted(), work.discriminator(), CPU, rate=module.schedule)
    for batch in batches:
        loop.step(batch)
    start = lora_parameters(work.adapted())
    work.trainer().fit(module, batches)
    ours, theirs = lora_parameters(module.generator), lora_parameters(loop.generator)
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-6, rtol=0)
        assert not torch.equal(weight, start[name])
    if adversarial:
        torch.testing.assert_close(
            dict(module.discriminator.named_parameters()), dict(loop.discriminator.named_parameters())
        )


@pytest.mark.parametrize(("option", "tolerance"), [("channels_last", 1e-2), ("fused", 1e-4), ("bf16", 0.1)])
def test_lean_options_train_the_same_to_their_rounding(option: str, tolerance: float) -> None:
    """SGD: the updates are the gradients, where Adam would keep little but their signs.

    Another layout sums in another order: a ReLU whose input is almost 0 may fall on its other side.
    """
    sgd = "budget.lora.optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 1.0e-4}"
    work = Problem(tiny("budget.lora.adversarial=false", sgd), 16)
    start, plain, fast = (
        HandLoop(work, merge_lora(work.adapted()), None, CPU, lean=given) for given in ([], [], [option])
    )
    for step in range(2):
        plain.step(work.batches(0, None).batch(step))
        fast.step(work.batches(0, None).batch(step))
    before, exact, rounded = (
        nn.utils.parameters_to_vector(p.contiguous() for p in loop.generator.parameters()).detach()
        for loop in (start, plain, fast)
    )
    assert (rounded - exact).norm() <= tolerance * (exact - before).norm()
    if option == "channels_last":
        assert fast.generator.stem.weight.is_contiguous(memory_format=torch.channels_last)
    elif option == "fused":
        assert fast.optimizers[0].defaults["fused"]
    else:
        assert not torch.equal(exact, rounded)


def test_compiled_options_compile_both_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: modes.append(mode))
    work = Problem(tiny(), 16)
    for option in ("compile", "cuda_graphs"):
        HandLoop(work, work.adapted(), work.discriminator(), CPU, lean=[option])
    assert modes == ["default"] * 2 + ["reduce-overhead"] * 2
    with pytest.raises(WeightgenError, match=r"bench\.lean\.options has \['warp'\]"):
        HandLoop(work, work.adapted(), None, CPU, lean=["warp"])


def test_one_block_after_the_other_gives_the_blocks_of_one_pass() -> None:
    cfg = tiny()
    layout = BlockLayout({"x.B": (700,)}, 256)  # the third block is padded
    generate = generator(cfg, layout, CPU, cfg.bench.single)
    noise = torch.Generator().manual_seed(1)
    for weight in generate.denoiser.parameters():  # an untrained net predicts zeros
        weight.data += 0.1 * torch.randn(weight.shape, generator=noise)
    tokens = torch.randn(1, 5, TEXT_DIM, generator=noise)
    text = TextFeatures(tokens, torch.ones(1, 5, dtype=torch.bool), tokens.mean(1))
    whole, single = (
        make(text, torch.Generator().manual_seed(3))
        for make in (generate, lambda *given: block_by_block(generate, *given))
    )
    assert whole.abs().mean() > 0.01
    torch.testing.assert_close(single, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_worker_processes_share_the_concepts(tmp_path: Path) -> None:
    setting = Setting(configured(*TINY, "strategy.workers=2", "bench.fleet={concepts: [2, 3]}"), tmp_path)
    assert worker_count(setting) == 2
    contests = list(fleet(setting))
    assert [(contest.title, contest.target) for contest in contests] == [
        ("fleet workers=2 C=2 1 steps 16 px [concepts/h]", 1.5),
        ("fleet lanes C=2 1 steps 16 px [concepts/h]", None),
        ("fleet workers=2 C=3 1 steps 16 px [concepts/h]", 1.5),
        ("fleet workers=2 lanes C=3 1 steps 16 px [concepts/h]", 1.5),
        ("fleet lanes C=3 1 steps 16 px [concepts/h]", None),
    ]
    row = measure(contests[3], 1, CPU, "").row
    assert row["peak_mb"] > 0
    assert row["ratio_median"] > 0
    assert len(Workers(setting, 16, 2, share=2).train(3, 1)) == 2  # two on lanes, and one alone
    processes = [process for process, _ in Workers(setting, 16, 2).train(3, 1)]
    assert len(processes) == 3
    assert os.getpid() not in processes


@pytest.mark.parametrize(("recipe", "sizes"), [("bench", [64]), ("gpu", [128])])
def test_a_full_set_has_the_papers_parameters(recipe: str, sizes: list[int]) -> None:
    cfg = configured(f"experiment={recipe}")
    assert cfg.bench.sizes == sizes
    work = Problem(cfg, sizes[0])
    lora = inject_lora(work.base, LoraSpec(**OmegaConf.to_container(cfg.bench.generation.lora)))
    assert sum(p.numel() for p in lora_parameters(lora).values()) == pytest.approx(92_000, rel=0.02)
    assert {name for names in cfg.bench.lean.options for name in names.split("+")} <= set(OPTIONS)

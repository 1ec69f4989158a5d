"""One training step: ours under Lightning, as the apps run it, against a plain loop; and what lean options bring."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from experiments.benchmarks.generation import generator
from experiments.benchmarks.hand import COMPILED, HandLoop
from experiments.benchmarks.problem import SEED, Problem, Setting
from experiments.benchmarks.runner import Contest, Side
from experiments.pipeline.options import plain
from experiments.pipeline.runtime import Runtime
from experiments.training.fit import fit
from weightgen.batches import Batches, Pairs, concept_batches
from weightgen.diffusion.lane import DenoiserLane
from weightgen.generation.function_space import FunctionSpaceModule
from weightgen.lanes import Lane, Lanes
from weightgen.translation.lora import LoraSpec, merge_lora
from weightgen.translation.stacked_lora import StackedLora
from weightgen.translation.training import FineTuneModule
from weightgen.weights.blocks import BlockLayout

Training = tuple[pl.LightningModule, Any]  # and its batches
Make = Callable[[], Training]
Nets = tuple[nn.Module, nn.Module | None]
WARM = 2  # first steps of every run, which do not count


class StepClock(pl.Callback):
    """Seconds from the start of batch WARM to the end of training: what logging and other callbacks take included."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.start, self.seconds = 0.0, 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any) -> None:
        if args[-1] == WARM:
            self.start = self.now()

    def on_train_end(self, *args: Any) -> None:
        self.seconds = self.now() - self.start


def step(setting: Setting) -> Iterator[Contest]:
    """Milliseconds a step, from the uint8 batch in memory to updated weights. ours: `experiments.training.fit.fit`."""
    options, cfg = setting.cfg.bench.step, setting.cfg
    for size in cfg.bench.sizes:
        work = Problem(cfg, size)
        for name, nets, make in _trainings(work, options.steps + WARM):
            hand, batches = HandLoop(work, *nets, setting.device), work.batches(0, None)
            yield Contest(
                f"step {name} {size} px against a plain loop",
                "ms/step",
                Side(partial(by_hand, setting, hand, batches, options.steps), options.steps),
                Side(partial(under_lightning, setting, make), options.steps),
                options.target,
            )
        yield from _on_lanes(setting, work, options)


def _on_lanes(setting: Setting, work: Problem, options: Any) -> Iterator[Contest]:
    """A lane's step against a plain loop, the same in a CUDA graph where there is CUDA, and Lightning's."""
    title, nets = f"step LoRA on a lane {work.size} px against", (work.adapted(), work.discriminator())
    lane = Side(partial(on_a_lane, setting, partial(work.lane, 0, options.steps + WARM), options.steps), options.steps)
    plain: dict[str, list[str]] = {"a plain loop": []}
    plain |= {"a plain loop in a graph": ["cuda_graphs"]} if setting.device.type == "cuda" else {}
    for name, given in plain.items():
        hand, batches = HandLoop(work, *nets, setting.device, lean=given), work.batches(0, None)
        loop = Side(partial(by_hand, setting, hand, batches, options.steps), options.steps)
        yield Contest(f"{title} {name}", "ms/step", loop, lane, options.target)
    eager = Side(partial(under_lightning, setting, partial(_lora, work, options.steps + WARM)), options.steps)
    yield Contest(f"{title} Lightning", "ms/step", eager, lane)
    through = partial(_through_base, work, options.steps + WARM)
    eager = Side(partial(under_lightning, setting, through), options.steps)
    lane = Side(
        partial(on_a_lane, setting, lambda: DenoiserLane(*through(), setting.device), options.steps), options.steps
    )
    yield Contest(f"step through the base on a lane {work.size} px against Lightning", "ms/step", eager, lane)


def _through_base(work: Problem, steps: int) -> Training:
    cfg, budget = work.cfg, work.cfg.budget.function
    stacked = StackedLora(work.base, LoraSpec(**plain(cfg.lora)))
    layout = BlockLayout(stacked.shapes, cfg.blocks.size, cfg.blocks.rule)
    untrained = generator(cfg, layout, torch.device("cpu"))
    scheduler, optimizer = untrained.sampler.scheduler, instantiate(budget.optimizer)
    module = FunctionSpaceModule(untrained.denoiser, scheduler, stacked, layout, untrained.normalizer, optimizer)
    pairs = Pairs(work.photos, [work.targets(concept) for concept in range(budget.concepts)])
    own = torch.zeros(budget.concepts, layout.blocks, layout.size)
    texts = work.texts(budget.concepts)
    return module, concept_batches(pairs, texts, own, budget.concepts, budget.photos, SEED, steps)


def _lora(work: Problem, steps: int) -> Training:
    return work.module(steps), work.batches(0, steps)


def _trainings(work: Problem, steps: int) -> Iterator[tuple[str, Nets, Make]]:
    """Name, nets for the plain loop, and what makes our module and its batches."""

    def finetune() -> Training:
        nets = merge_lora(work.adapted()), work.discriminator()
        module = FineTuneModule(*nets, **work.optimizers(), **work.schedule(), max_steps=steps)
        return module, work.batches(0, steps)

    yield "LoRA", (work.adapted(), work.discriminator()), partial(_lora, work, steps)
    yield "fine-tune of all weights", (merge_lora(work.adapted()), work.discriminator()), finetune


def lean(setting: Setting) -> Iterator[Contest]:
    """Milliseconds a step of the plain loop with an option (or several, joined by +) against the loop without."""
    options, cfg = setting.cfg.bench.lean, setting.cfg
    for size in cfg.bench.sizes:
        work = Problem(cfg, size)
        batches = work.batches(0, None)
        for names in options.options:
            plain, fast = (
                HandLoop(work, work.adapted(), work.discriminator(), setting.device, lean=given)
                for given in ([], names.split("+"))
            )
            sides = (
                Side(partial(by_hand, setting, loop, batches, options.steps), options.steps) for loop in (plain, fast)
            )
            compiled = not COMPILED.isdisjoint(names.split("+"))
            yield Contest(f"lean {names} {size} px", "ms/step", *sides, optional=compiled)


def under_lightning(setting: Setting, make: Make) -> float:
    """Seconds of the steps of one run after its first WARM, with the callbacks and the CSV log of a real one."""
    clock = StepClock(setting.clock.now)
    module, batches = make()
    with TemporaryDirectory(dir=setting.folder) as folder:
        logger = CSVLogger(folder, name="log", version="", flush_logs_every_n_steps=1)
        fit(replace(Runtime.of(setting.cfg), graphs=False), module, batches, Path(folder), [logger], [clock], bar=False)
    return clock.seconds


def on_a_lane(setting: Setting, make: Callable[[], Lane], steps: int) -> float:
    """Seconds of `steps` steps after WARM that do not count; where there is CUDA, of a captured graph."""
    lane, lanes = make(), Lanes(setting.device)
    lanes.add(lane)
    lanes.advance(WARM)
    return setting.clock(partial(lanes.advance, steps))


def by_hand(setting: Setting, loop: HandLoop, batches: Batches, steps: int) -> float:
    """Seconds of `steps` steps, after WARM that do not count, as under Lightning."""

    def run(steps: range) -> None:
        for number in steps:
            loop.step(batches.batch(number))

    run(range(WARM))
    return setting.clock(partial(run, range(WARM, WARM + steps)))

"""Many trainings of one kind in one process: each is a lane, whose step the host only launches.

A training step at small images is bound by launching its kernels: a lane's step is captured once as a CUDA graph and
replayed, and lanes on several streams fill the device. On a CPU the same step is called.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from weightgen.batches import Batches
from weightgen.errors import WeightgenError
from weightgen.schedules import Schedule

log = logging.getLogger(__name__)
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
STREAMS = 8  # more were measured to gain nothing (16 lanes at 128 px on an H200)
WARM = 2  # eager steps before the first capture on a stream: libraries load, cuDNN plans
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Lane(ABC):
    """The training of `module` on `batches`, on buffers alone: the learning rates of each step are rows of a table on the
    device, the losses, named `losses`, are rows of `history`; `counter` says which row. It waits at step `stop`.

    A subclass says what a step is. trained: makers of optimizers with the weights of each; half: autocast to bfloat16.
    Weights, optimizers and learning rates are those that Lightning's run has, on a CPU to the last bit. Raises
    WeightgenError for optimizers other than Adam and AdamW.
    """

    def __init__(
        self,
        module: pl.LightningModule,
        batches: Batches,
        device: torch.device | str,
        half: bool,
        trained: Sequence[tuple[OptimizerFactory, Sequence[nn.Parameter]]],
        schedule: Schedule,
        losses: Sequence[str],
    ) -> None:
        self.module, self.device, self.half = module, torch.device(device), half
        self.batches, self.steps, self.done, self.stop = batches, batches.steps, 0, batches.steps
        factors = torch.tensor([schedule(step) for step in range(self.steps)], dtype=torch.float64)
        rates = [make([nn.Parameter(torch.zeros(1))]).defaults["lr"] for make, _ in trained]
        # float64 as Python's numbers are; the fused kernels of CUDA read float32
        kind = torch.float32 if self.device.type == "cuda" else torch.float64
        table = factors[:, None] * torch.tensor(rates, dtype=torch.float64)
        self.rates = table.to(self.device, kind)  # (T, n)
        self.now = self.rates[0].clone()  # (n,): whose elements are the optimizers' learning rates
        self.optimizers = [
            static_adam(make, weights, rate) for (make, weights), rate in zip(trained, self.now, strict=True)
        ]
        self.losses = list(losses)
        self.history = torch.zeros(self.steps, len(self.losses), device=self.device)
        self.counter = torch.zeros(1, dtype=torch.long, device=self.device)
        self.pool, self.warm = None, 0

    @abstractmethod
    def train(self) -> Sequence[Tensor]:
        """The step that row `counter` describes -> its losses."""

    def begin(self, warm: int) -> None:
        """Called on the stream where it will train. warm: how many eager steps come before a capture."""
        self.warm = warm

    @abstractmethod
    def launch(self) -> None:
        """Train one step on; on CUDA it is under way when this returns."""

    def step(self) -> None:
        """`train`, with its learning rates before and its losses written down after."""
        self.now.copy_(self._row(self.rates))
        losses = torch.stack([loss.detach().float() for loss in self.train()])
        self.history.index_copy_(0, self.counter, losses[None])
        self.counter.add_(1)

    def autocast(self) -> torch.autocast:
        # no cache: between D's step and G's its copies of D's weights would be stale
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False)

    def descend(self, loss: Tensor, net: int) -> None:
        """One step of optimizer `net`."""
        self.optimizers[net].zero_grad()
        loss.backward()
        self.optimizers[net].step()

    def _row(self, table: Tensor) -> Tensor:
        """(T, ...) -> (...): this step's."""
        return table.index_select(0, self.counter)[0]

    def captured(self) -> Callable[[], None]:
        """`step` as the replay of a CUDA graph, on the current stream, where it must be replayed; `step` itself on a CPU
        and, after one warning, where it cannot be captured. The eager steps before change nothing."""
        if self.device.type != "cuda":
            return self.step
        before = {name: value.clone() for name, value in self.state().items()} if self.warm else {}
        for _ in range(min(self.warm, self.steps - self.done)):
            self.step()
        if before:
            self.load_state(before)
        graph = torch.cuda.CUDAGraph()
        try:
            graph.capture_begin(self.pool, capture_error_mode="thread_local")
            try:
                self.step()
            finally:
                graph.capture_end()
        except RuntimeError as error:
            log.warning("this training step cannot be captured (%s): it runs eagerly", str(error).splitlines()[0])
            return self.step
        return graph.replay

    def advance(self, steps: int) -> None:
        """Train `steps` steps on, at most to step `stop`; on CUDA they are under way when this returns."""
        for _ in range(min(steps, self.stop - self.done)):
            self.launch()
            self.done += 1

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: the buffers themselves."""
        found = {"counter": self.counter, "history": self.history}
        held = [*self.module.named_parameters(), *self.module.named_buffers()]  # each once, where two nets share it
        found |= {f"module.{name}": value.detach() for name, value in held}
        for i, optimizer in enumerate(self.optimizers):
            for j, state in enumerate(optimizer.state.values()):
                found |= {f"{i}.{j}.{name}": state[name] for name in MOMENTS}
        return found

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from a copy of `state`."""
        for name, value in self.state().items():
            value.copy_(state[name])
        self.done = int(state["counter"])


def static_adam(make: OptimizerFactory, weights: Sequence[nn.Parameter], rate: Tensor) -> Optimizer:
    """The optimizer of `make` with `rate`, a tensor without dimensions, as its learning rate, and its state made now.

    Raises WeightgenError unless it is Adam or AdamW, without amsgrad and maximize.
    """
    made = make([nn.Parameter(torch.zeros(1))])
    options = made.defaults
    if type(made) not in (Adam, AdamW) or options["amsgrad"] or options["maximize"]:
        raise WeightgenError(
            f"lanes train with Adam or AdamW (no amsgrad, no maximize), not with {type(made).__name__}: "
            "use fleet.size=1 strategy.graphs=false"
        )
    graphed = rate.device.type == "cuda"
    kept = {name: options[name] for name in ("betas", "eps", "weight_decay")}
    optimizer = type(made)(weights, lr=rate, capturable=graphed, fused=graphed or None, **kept)
    for weight in weights:
        moments = (torch.zeros_like(weight) for _ in range(2))
        steps = torch.zeros((), device=weight.device if graphed else "cpu")
        optimizer.state[weight] = dict(zip(MOMENTS, (steps, *moments), strict=True))
    return optimizer


class Lanes:
    """Lanes of one device, spread over its streams; each lane stays on the stream that captured it."""

    def __init__(self, device: torch.device | str) -> None:
        cuda = torch.device(device).type == "cuda"
        self.streams = [torch.cuda.Stream(device) for _ in range(STREAMS)] if cuda else [None]
        self.pools: dict[Any, Any] = {}  # of the streams that have captured
        self.stream_of: dict[Lane, torch.cuda.Stream | None] = {}

    def add(self, lane: Lane) -> None:
        used = list(self.stream_of.values())
        stream = min(self.streams, key=used.count)
        if stream is not None:
            torch.cuda.synchronize()  # what the lane is made of is there
            warm = 0 if stream in self.pools else WARM
            # the graphs' memory, which lanes of one stream share, since a stream runs one at a time
            lane.pool = self.pools.setdefault(stream, torch.cuda.graph_pool_handle())
            with torch.cuda.stream(stream):
                lane.begin(warm)
        self.stream_of[lane] = stream

    def remove(self, lane: Lane) -> None:
        del self.stream_of[lane]

    def advance(self, steps: int) -> None:
        """Every lane `steps` steps on, step by step in turns, and wait for them."""
        for _ in range(steps):
            for lane, stream in self.stream_of.items():
                with nullcontext() if stream is None else torch.cuda.stream(stream):
                    lane.advance(1)
        for stream in self.streams:
            if stream is not None:
                stream.synchronize()

"""Many trainings of one kind in one process: each is a lane, whose step the host only launches.

A training step at small images is bound by launching its kernels: a lane's step is captured once as a CUDA graph and
replayed, and lanes on several streams fill the device. On a CPU the same step is called.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from weightgen.batches import PairBatches
from weightgen.errors import WeightgenError
from weightgen.translation.training import TranslatorModule

log = logging.getLogger(__name__)
STREAMS = 8  # more were measured to gain nothing (16 lanes at 128 px on an H200)
WARM = 2  # eager steps before the first capture on a stream: libraries load, cuDNN plans
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Lane:
    """The training of `module` on `batches`, on buffers alone: the numbers of each step's photos and texts and its learning
    rates are rows of tables on the device, the losses are rows of `history`; `counter` says which row. It waits at `stop`.

    The step is TranslatorModule.training_step; weights, optimizers and learning rates are those that Lightning's run has, on
    a CPU to the last bit. half: autocast to bfloat16. Raises WeightgenError for optimizers other than Adam and AdamW.
    """

    def __init__(
        self, module: TranslatorModule, batches: PairBatches, device: torch.device | str = "cpu", half: bool = False
    ) -> None:
        self.module, self.device, self.half = module.to(device), torch.device(device), half
        self.steps, self.done, self.stop = batches.steps, 0, batches.steps
        nets = [net for net in (module.generator, module.discriminator) if net is not None]
        makes = [module.optimizer, module.discriminator_optimizer][: len(nets)]
        weights = [[p for p in net.parameters() if p.requires_grad] for net in nets]
        factors = torch.tensor([module.schedule(step) for step in range(self.steps)], dtype=torch.float64)
        base = torch.tensor(
            [make([nn.Parameter(torch.zeros(1))]).defaults["lr"] for make in makes], dtype=torch.float64
        )
        # float64 as Python's numbers are; the fused kernels of CUDA read float32
        kind = torch.float32 if self.device.type == "cuda" else torch.float64
        self.rates = (factors[:, None] * base).to(self.device, kind)  # (T, n)
        self.now = self.rates[0].clone()  # (n,): whose elements are the optimizers' learning rates
        self.optimizers = [static_adam(*each) for each in zip(makes, weights, self.now, strict=True)]
        sides, picks = flat(batches)
        self.picks = picks.to(self.device)  # (T, 3, B)
        self.images = [side.to(self.device) for side in sides]  # uint8 (N, 3, H, W), each
        self.texts = [side.to(self.device) for side in (batches.texts.tokens, batches.texts.mask)]
        self.losses = ["l1", *(["discriminator", "gan"] if len(nets) > 1 else [])]
        self.history = torch.zeros(self.steps, len(self.losses), device=self.device)
        self.counter = torch.zeros(1, dtype=torch.long, device=self.device)
        self.launch: Callable[[], None] = self.step
        module.descend = self._descend  # in place of Lightning's optimizers and schedulers

    def step(self) -> None:
        """One training step: that of row `counter`."""
        self.now.copy_(self._row(self.rates))
        *photos, texts = self._row(self.picks)
        source, target = (side.index_select(0, rows) for side, rows in zip(self.images, photos, strict=True))
        tokens, mask = (side.index_select(0, texts) for side in self.texts)
        batch = {"source": source, "target": target, "tokens": tokens, "text_mask": mask}
        # no cache: between D's step and G's its copies of D's weights would be stale
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False):
            TranslatorModule.training_step(self.module, batch, 0)  # FineTuneModule's has a clock, which a graph has not
        losses = torch.stack([self.module.last_losses[f"train/{name}"].float() for name in self.losses])
        self.history.index_copy_(0, self.counter, losses[None])
        self.counter.add_(1)

    def _row(self, table: Tensor) -> Tensor:
        """(T, ...) -> (...): this step's."""
        return table.index_select(0, self.counter)[0]

    def _descend(self, loss: Tensor, net: int) -> None:
        """TranslatorModule.descend without Lightning."""
        self.optimizers[net].zero_grad()
        loss.backward()
        self.optimizers[net].step()

    def capture(self, pool: Any, warm: int) -> None:
        """Make `launch` the replay of a CUDA graph, on the current stream, where it must be replayed. A step that cannot be
        captured is called, after one warning.

        pool: the graphs' memory, which lanes of one stream share, since a stream runs one at a time; warm: steps before.
        """
        if warm:
            before = {name: value.clone() for name, value in self.state().items()}
            for _ in range(min(warm, self.steps)):
                self.step()
            self.load_state(before)
        graph = torch.cuda.CUDAGraph()
        try:
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                self.step()
            finally:
                graph.capture_end()
        except RuntimeError as error:
            log.warning("this training step cannot be captured (%s): it runs eagerly", str(error).splitlines()[0])
        else:
            self.launch = graph.replay

    def advance(self, steps: int) -> None:
        """Train `steps` steps on, at most to step `stop`; on CUDA they are under way when this returns."""
        steps = min(steps, self.stop - self.done)
        for _ in range(steps):
            self.launch()
        self.done += steps

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: the buffers themselves."""
        found = {"counter": self.counter, "history": self.history}
        found |= {f"module.{name}": value for name, value in self.module.state_dict().items()}
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


def flat(batches: PairBatches) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((sources, targets) of all concepts one after the other, the sources once where all share them; (T, 3, B): the rows of
    each step's sources, targets and texts)."""
    sources, targets = batches.pairs.sources, list(batches.pairs.targets)
    shared = all(photos is sources[0] for photos in sources)
    firsts, picks = [0, *batches.ends], []
    for step in range(batches.steps):
        concepts, photos, texts = batches.numbers(step)
        rows = [firsts[concept] + photo for concept, photo in zip(concepts, photos, strict=True)]
        picks.append((photos if shared else rows, rows, texts))
    kept = sources[:1] if shared else sources
    return tuple(side[0] if len(side) == 1 else torch.cat(side) for side in (kept, targets)), torch.tensor(picks)


def static_adam(
    make: Callable[[Iterable[nn.Parameter]], Optimizer], weights: Sequence[nn.Parameter], rate: Tensor
) -> Optimizer:
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
            with torch.cuda.stream(stream):
                lane.capture(self.pools.setdefault(stream, torch.cuda.graph_pool_handle()), warm)
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

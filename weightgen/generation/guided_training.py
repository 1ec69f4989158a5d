"""Training of the refiner behind `guided`: on train concepts, as if each were new."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from weightgen.batches import Batch
from weightgen.diffusion.averaged import ALL, AveragedModule
from weightgen.generation.block_generator import BlockGenerator
from weightgen.generation.guided import Guide
from weightgen.rng import stream
from weightgen.schedules import Schedule
from weightgen.text.encoders import TextFeatures


class GuidedModule(AveragedModule):
    """After every round, the logarithm of the L1 on pairs that the round was NOT guided by: halving it counts alike
    wherever a concept starts.

    Batches are those of `weightgen.batches.concept_batches`, of max(pairs) + query pairs a concept: the first k guide, k
    drawn from `pairs`, the last `query` judge. Rounds start from what the zoo's generator makes of the concept's prompt, of
    another concept's, or from LoRA zero, a third each: on a new concept the generator does worse than on the ones that it
    learned. And a share `foreign` of the concepts goes by another's prompt throughout, as a concept does whose words nobody
    has learned: base, generator and refiner read it, and gradients alone tell what is asked for.
    zero: (K, D), the blocks of LoRA zero. `averaged` (EMA) is the refiner to export.
    """

    def __init__(
        self,
        guide: Guide,
        generator: BlockGenerator,
        zero: Tensor,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        pairs: Sequence[int] = (4,),
        rounds: int = 3,
        query: int = 4,
        foreign: float = 0.25,
        ema_decay: float = 0.98,
        warmup_steps: int = 10,
        decay_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        schedule = Schedule(warmup_steps, end=decay_steps, floor=0.1)
        super().__init__(guide.refiner, optimizer, ema_decay, schedule)
        self.guide, self.generator = guide, generator
        self.frozen = nn.ModuleList([generator.denoiser]).requires_grad_(False)  # moves with this module
        self.register_buffer("zero", zero, persistent=False)
        self.pairs, self.rounds, self.query = tuple(pairs), rounds, query
        self.foreign = foreign
        self.losses = [f"l1_round{number + 1}" for number in range(rounds)]
        self.seed = seed

    def called(self, batch: Batch, step: int) -> Batch:
        """The batch with the words that each concept goes by, drawn by (seed, step)."""
        concepts = len(batch["tokens"])
        draw = torch.rand(concepts, generator=stream(self.seed, "guide/names", step))
        named = (torch.arange(concepts) + (draw < self.foreign).long()) % concepts
        return batch | {name: batch[name][named] for name in ("tokens", "text_mask")}

    @torch.no_grad()
    def starts(self, batch: Batch, step: int) -> Tensor:
        """(N, K, D): where each concept's rounds begin, drawn by (seed, step)."""
        concepts = len(batch["tokens"])
        kind = torch.randint(
            3, (concepts,), generator=stream(self.seed, "guide/starts", step)
        )  # own prompt, another's, zero
        told = (torch.arange(concepts) + (kind == 1).long()) % concepts
        tokens, mask = batch["tokens"][told], batch["text_mask"][told]
        noise = stream(self.seed, "guide/noise", step)
        generated = self.generator(TextFeatures(tokens, mask, tokens.mean(1)), noise)
        return torch.where((kind == 2).to(generated.device)[:, None, None], self.zero, generated)

    def guiding(self, step: int) -> int:
        """How many pairs guide the step's rounds."""
        noise = stream(self.seed, "guide/pairs", step)
        return self.pairs[int(torch.randint(len(self.pairs), (), generator=noise))]

    def drawn(self, batch: Batch, step: int, rows: int, mine: slice = ALL) -> Batch:
        """With `start`, under the words that each concept goes by, and no more pairs than guide and judge."""
        batch = self.called(batch, step)
        total = batch["source"].shape[1]
        kept = [*range(self.guiding(step)), *range(total - self.query, total)]
        pairs = {name: batch[name][:, kept] for name in ("source", "target")}
        return batch | pairs | {"start": self.starts(batch, step)}

    def objective(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        guiding = batch["source"].shape[1] - self.query
        rounds = self.guide.rounds(batch["start"], batch, guiding, self.rounds)
        losses = [self.guide.loss(blocks, batch, slice(guiding, None)) for blocks in rounds]
        # a loss of 0 has no logarithm
        return torch.stack(losses).clamp(min=1e-4).log().mean(), [loss.mean() for loss in losses]

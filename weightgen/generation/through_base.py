"""Function-space training of the weight generator: what counts is what the generated weights do, not their distance.

Weight error does not rank methods (DESIGN): many LoRAs draw one concept. So the denoiser's x_0 is loaded into the
frozen base and scored on the concept's pairs, and that loss flows back through the translator into the denoiser.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import IterableDataset

from weightgen.diffusion.averaged import AveragedModule
from weightgen.diffusion.sampler import to_x0
from weightgen.diffusion.training import masked_mse, seeded
from weightgen.slices import own_rows
from weightgen.translation.fleet.stacked_lora import StackedLora
from weightgen.translation.training import to_signed
from weightgen.weights import BlockLayout, Normalizer


class FunctionBatches(IterableDataset):
    """Endless batches of `concepts` train concepts with `photos` pairs each, uint8 in memory.

    Batch s is a function of (seed, s) alone. Yields dicts: source, target uint8 (n, m, 3, H, W); tokens (n, L, E); text_mask
    (n, L); own (n, K, D), the concepts' normalised zoo sets.
    """

    def __init__(
        self,
        sources: Tensor | Sequence[Tensor],
        targets: Sequence[Tensor],
        own: Tensor,
        tokens: Tensor,
        text_mask: Tensor,
        prompts: Sequence[Sequence[int]],
        concepts: int,
        photos: int,
        seed: int = 0,
        steps: int | None = None,
        start: int = 0,
    ) -> None:
        """sources: uint8 (N, 3, H, W), shared by all concepts, or each concept's own; targets[c]: the same photos edited by
        concept c; own: (C, K, D); prompts[c]: the rows of `tokens` that describe concept c, of which one is drawn."""
        self.sources = [sources] * len(targets) if isinstance(sources, Tensor) else list(sources)
        self.targets, self.own = targets, own
        self.tokens, self.text_mask, self.prompts = tokens, text_mask, prompts
        self.concepts, self.photos = concepts, photos
        self.seed, self.steps, self.start = seed, steps, start

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of `step`, whatever came before it."""
        generator = seeded(self.seed, step)
        rows = torch.randperm(len(self.targets), generator=generator)[: self.concepts].tolist()
        counts = torch.tensor([len(self.sources[c]) for c in rows])
        # of unequal counts: the remainder of a number so large that no photo is favoured
        high = int(counts[0]) if (counts == counts[0]).all() else 2**48
        chosen = torch.randint(high, (len(rows), self.photos), generator=generator) % counts[:, None]
        draws = torch.rand(len(rows), generator=generator).tolist()
        texts = [self.prompts[c][int(u * len(self.prompts[c]))] for c, u in zip(rows, draws, strict=True)]
        return {
            "source": torch.stack([self.sources[c][p] for c, p in zip(rows, chosen, strict=True)]),
            "target": torch.stack([self.targets[c][p] for c, p in zip(rows, chosen, strict=True)]),
            "tokens": self.tokens[texts],
            "text_mask": self.text_mask[texts],
            "own": self.own[rows],
        }

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step = self.start
        while self.steps is None or step < self.steps:
            yield self.batch(step)
            step += 1


class FunctionSpaceModule(AveragedModule):
    """One-step generation, trained through the frozen base: loss = L1(translator(source), target), images in [-1, 1].

    weight_loss: weight of the usual squared error to the concept's own zoo set, which keeps the generator near weights that
    fine-tuning has seen (0: function alone). `averaged` (EMA) is what to export.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        scheduler: DDIMScheduler,
        stacked: StackedLora,
        layout: BlockLayout,
        normalizer: Normalizer,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        weight_loss: float = 0.0,
        ema_decay: float = 0.98,
        warmup_steps: int = 20,
        decay_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(denoiser, optimizer, get_ema_multi_avg_fn(ema_decay))
        self.scheduler = scheduler
        self.stacked = stacked
        self.layout = layout
        self.normalizer = normalizer
        self.weight_loss = weight_loss
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed
        self.register_buffer("valid", layout.valid(), persistent=False)

    def training_step(self, batch: Mapping[str, Tensor], batch_index: int) -> Tensor:
        concepts, photos = batch["source"].shape[:2]
        rows, mine = own_rows(concepts, self.trainer, batch_index)
        noise = torch.randn(rows, *batch["own"].shape[1:], generator=seeded(self.seed, self.global_step, 1))
        noise = noise[mine].to(self.device)
        last = self.scheduler.config.num_train_timesteps - 1
        t = torch.full((concepts,), last, device=self.device)
        index = torch.arange(self.layout.blocks, device=self.device).expand(concepts, -1)
        output = self.denoiser(noise, t, index, batch["tokens"], batch["text_mask"])
        x_0 = to_x0(self.scheduler, output, noise, t) * self.valid
        factors = self.layout.from_blocks(self.normalizer.denormalize(x_0) * self.valid)
        images = to_signed(batch["source"]).flatten(0, 1)
        prompt = (batch[name].repeat_interleave(photos, 0) for name in ("tokens", "text_mask"))
        fake = self.stacked(images, *prompt, factors)
        image = l1_loss(fake, to_signed(batch["target"]).flatten(0, 1))
        weight = masked_mse(x_0, batch["own"], self.valid.expand_as(x_0))
        self.last_losses = {"train/l1": image.detach(), "train/weight": weight.detach()}
        return image + self.weight_loss * weight

    def rate(self, step: int) -> float:
        """Learning rate at a step as a share of the optimizer's own: linear warm-up, then linear decay to a tenth."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        done = min(1.0, step / self.decay_steps) if self.decay_steps else 0.0
        return warm * (1 - 0.9 * done)

"""Training of the weight generator by what its weights do through the frozen base.

Weight error does not rank methods: many LoRAs draw one concept. So the denoiser's x_0 is loaded into the
frozen base and scored on the concept's pairs, and that loss flows back through the translator into the denoiser.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from weightgen.batches import Batch
from weightgen.diffusion.averaged import ALL, AveragedModule
from weightgen.diffusion.sampler import draw_noise, to_x0
from weightgen.diffusion.training import masked_mse
from weightgen.generation.through_base import ThroughBase
from weightgen.rng import stream
from weightgen.schedules import Schedule
from weightgen.translation.stacked_lora import StackedLora
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer


class FunctionSpaceModule(AveragedModule):
    """One-step generation, trained through the frozen base: loss = L1(translator(source), target), images in [-1, 1].

    Batches are those of `weightgen.batches.concept_batches`, whose `own` is the concepts' normalised zoo sets. weight_loss:
    weight of the usual squared error to those, which keeps the generator near weights that fine-tuning has seen (0: function
    alone). perceptual: a frozen module, (drawn, target) in [-1, 1] -> a distance a picture, and its weight beside the L1,
    which alone leaves starts blurred. `averaged` (EMA) is what to export.
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
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 0.0,
        ema_decay: float = 0.98,
        warmup_steps: int = 20,
        decay_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        schedule = Schedule(warmup_steps, end=decay_steps, floor=0.1)
        super().__init__(denoiser, optimizer, ema_decay, schedule)
        self.scheduler = scheduler
        self.through = ThroughBase(stacked, layout)
        self.normalizer = normalizer
        self.weight_loss = weight_loss
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight
        self.losses = ["l1", "weight"] + ["perceptual"] * (perceptual is not None)
        self.seed = seed

    def drawn(self, batch: Batch, step: int, rows: int, mine: slice = ALL) -> Batch:
        draw = stream(self.seed, "function/noise", step)
        noise = draw_noise(self.scheduler, rows, *batch["own"].shape[1:], generator=draw)
        return batch | {"noise": noise[mine].to(batch["own"])}

    def objective(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        through, noise = self.through, batch["noise"]
        last = self.scheduler.config.num_train_timesteps - 1
        t = torch.full((len(noise),), last, device=noise.device)
        index = torch.arange(through.layout.blocks, device=noise.device).expand(len(noise), -1)
        output = self.denoiser(noise, t, index, batch["tokens"], batch["text_mask"])
        x_0 = to_x0(self.scheduler, output, noise, t) * through.valid
        pictures = through.pictures(self.normalizer.denormalize(x_0) * through.valid, batch)
        image, weight = l1_loss(*pictures), masked_mse(x_0, batch["own"], through.valid.expand_as(x_0))
        loss, parts = image + self.weight_loss * weight, [image, weight]
        if self.perceptual is not None:
            parts.append(self.perceptual(*pictures).mean())
            loss = loss + self.perceptual_weight * parts[-1]
        return loss, parts

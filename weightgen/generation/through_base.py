"""Function-space training of the weight generator: what counts is what the generated weights do, not their distance.

Weight error does not rank methods: many LoRAs draw one concept. So the denoiser's x_0 is loaded into the
frozen base and scored on the concept's pairs, and that loss flows back through the translator into the denoiser.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from weightgen.diffusion.averaged import AveragedModule
from weightgen.diffusion.sampler import to_x0
from weightgen.diffusion.training import masked_mse
from weightgen.rng import seeded
from weightgen.schedules import Schedule
from weightgen.slices import own_rows
from weightgen.translation.stacked_lora import StackedLora
from weightgen.translation.training import to_signed
from weightgen.weights import BlockLayout, Normalizer


class FunctionSpaceModule(AveragedModule):
    """One-step generation, trained through the frozen base: loss = L1(translator(source), target), images in [-1, 1].

    Batches are those of `weightgen.batches.concept_batches`, whose `own` is the concepts' normalised zoo sets. weight_loss:
    weight of the usual squared error to those, which keeps the generator near weights that fine-tuning has seen (0: function
    alone). `averaged` (EMA) is what to export.
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
        schedule = Schedule(warmup_steps, end=decay_steps, floor=0.1)
        super().__init__(denoiser, optimizer, get_ema_multi_avg_fn(ema_decay), schedule)
        self.scheduler = scheduler
        self.stacked = stacked
        self.layout = layout
        self.normalizer = normalizer
        self.weight_loss = weight_loss
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

"""Generated weights judged by what they do through the frozen base; training of the weight generator by that.

Weight error does not rank methods: many LoRAs draw one concept. So the denoiser's x_0 is loaded into the
frozen base and scored on the concept's pairs, and that loss flows back through the translator into the denoiser.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from weightgen.diffusion.averaged import AveragedModule
from weightgen.diffusion.sampler import draw_noise, to_x0
from weightgen.diffusion.training import masked_mse
from weightgen.errors import WeightgenError
from weightgen.rng import stream
from weightgen.schedules import Schedule
from weightgen.slices import own_rows
from weightgen.translation.stacked_lora import StackedLora
from weightgen.translation.training import to_signed
from weightgen.weights.blocks import BlockLayout
from weightgen.weights.normalizer import Normalizer


class ThroughBase(nn.Module):
    """The frozen base with LoRAs given as blocks: how far what it draws is from concepts' own edits.

    A batch is a dict: source, target uint8 (N, m, 3, H, W), pairs of N concepts; tokens (N, L, E); text_mask (N, L) bool.
    Raises WeightgenError if `stacked` and `layout` are of different LoRAs.
    """

    def __init__(self, stacked: StackedLora, layout: BlockLayout) -> None:
        super().__init__()
        if stacked.shapes != layout.shapes:
            names = [*stacked.shapes, *layout.shapes]
            odd = next(name for name in names if stacked.shapes.get(name) != layout.shapes.get(name))
            raise WeightgenError(f"base and block layout differ at {odd!r}: rebuild the layout with `make blocks`")
        self.stacked = stacked
        self.layout = layout
        self.register_buffer("valid", layout.valid(), persistent=False)

    def loss(self, blocks: Tensor, batch: Mapping[str, Tensor], part: slice = slice(None)) -> Tensor:
        """blocks: (N, K, D) raw; the L1, in [-1, 1] units (pix2pix eq. 4), of each concept's pairs `part` -> (N,)."""
        source, target = batch["source"][:, part], batch["target"][:, part]
        concepts, photos = source.shape[:2]
        prompt = (batch[name].repeat_interleave(photos, 0) for name in ("tokens", "text_mask"))
        fake = self.stacked(to_signed(source).flatten(0, 1), *prompt, self.layout.from_blocks(blocks))
        error = l1_loss(fake, to_signed(target).flatten(0, 1), reduction="none")
        return error.flatten(1).mean(1).unflatten(0, (concepts, photos)).mean(1)

    def loss_and_gradient(
        self, blocks: Tensor, batch: Mapping[str, Tensor], part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Losses (N,) and d loss / d blocks of every concept at once (they share no weights): (N, K, D), 0 at padding.

        Works under torch.no_grad as well.
        """
        with torch.enable_grad():
            leaf = blocks.detach().requires_grad_()
            loss = self.loss(leaf, batch, part)
            return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]


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
        super().__init__(denoiser, optimizer, ema_decay, schedule)
        self.scheduler = scheduler
        self.through = ThroughBase(stacked, layout)
        self.normalizer = normalizer
        self.weight_loss = weight_loss
        self.seed = seed

    def training_step(self, batch: Mapping[str, Tensor], batch_index: int) -> Tensor:
        through, concepts = self.through, len(batch["own"])
        rows, mine = own_rows(concepts, self.trainer, batch_index)
        draw = stream(self.seed, "function/noise", self.global_step)
        noise = draw_noise(self.scheduler, rows, *batch["own"].shape[1:], generator=draw)[mine].to(self.device)
        last = self.scheduler.config.num_train_timesteps - 1
        t = torch.full((concepts,), last, device=self.device)
        index = torch.arange(through.layout.blocks, device=self.device).expand(concepts, -1)
        output = self.denoiser(noise, t, index, batch["tokens"], batch["text_mask"])
        x_0 = to_x0(self.scheduler, output, noise, t) * through.valid
        image = through.loss(self.normalizer.denormalize(x_0) * through.valid, batch).mean()
        weight = masked_mse(x_0, batch["own"], through.valid.expand_as(x_0))
        self.last_losses = {"train/l1": image.detach(), "train/weight": weight.detach()}
        return image + self.weight_loss * weight

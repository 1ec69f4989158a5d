"""Training of a translator against a discriminator, and of an initialised one with a training clock."""

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Optimizer

from weightgen.averages import average_into
from weightgen.schedules import Schedule
from weightgen.translation.losses import discriminator_loss, generator_loss
from weightgen.translation.pictures import to_signed, translate

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class TranslatorModule(pl.LightningModule):
    """pix2pix training: D on (real, fake), then G on cGAN + l1_weight * L1 (pix2pix eq. 4).

    A batch is a dict: source, target uint8 (B, 3, H, W); tokens float (B, L, E); text_mask bool (B, L).
    `discriminator=None` trains on L1 alone. Learning rates rise linearly over `warmup_steps` and fall linearly to zero from
    `decay_start` (a fraction of `max_steps`; 1 keeps them constant). `discriminator_optimizer` defaults to `optimizer`.
    `averaged` is what to export and to measure: the generator, or with `ema_decay` (in [0, 1); else ValueError) the
    exponential average of its weights, start included: averaged <- ema_decay averaged + (1 - ema_decay) current.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module | None,
        optimizer: OptimizerFactory,
        l1_weight: float = 100.0,
        warmup_steps: int = 0,
        decay_start: float = 1.0,
        max_steps: int = 1,
        discriminator_optimizer: OptimizerFactory | None = None,
        ema_decay: float = 0.0,
    ) -> None:
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay={ema_decay}: from 0 (the last weights) to below 1")
        super().__init__()
        self.automatic_optimization = False
        self.generator = generator
        self.ema = copy.deepcopy(generator).requires_grad_(False) if ema_decay else None
        self.ema_decay = ema_decay
        self.discriminator = discriminator
        self.optimizer = optimizer
        self.discriminator_optimizer = discriminator_optimizer or optimizer
        self.l1_weight = l1_weight
        self.schedule = Schedule(warmup_steps, decay_start * max_steps, max_steps)

    @property
    def averaged(self) -> nn.Module:
        """The generator with averaged weights; where there is no average, the generator."""
        return self.generator if self.ema is None else self.ema

    def training_step(self, batch: Mapping[str, Tensor], batch_index: int) -> None:
        source, target = to_signed(batch["source"]), to_signed(batch["target"])
        fake = self.generator(source, batch["tokens"], batch["text_mask"])
        losses = {"l1": l1_loss(fake, target)}
        loss = self.l1_weight * losses["l1"]
        if self.discriminator is not None:
            logits = self.discriminator(source, target), self.discriminator(source, fake.detach())
            losses["discriminator"] = discriminator_loss(*logits)
            self.descend(losses["discriminator"], net=1)
            self.discriminator.requires_grad_(False)  # G's step needs D's input gradient only
            losses["gan"] = generator_loss(self.discriminator(source, fake))
            loss = loss + losses["gan"]
        self.descend(loss, net=0)
        if self.ema is not None:
            average_into(self.ema, self.generator, 1 - self.ema_decay)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
        self.last_losses = {f"train/{name}": value.detach() for name, value in losses.items()}

    def descend(self, loss: Tensor, net: int) -> None:
        """One step of the optimizer of the generator (net 0) or the discriminator (net 1), and of its learning rate."""
        optimizers = self.optimizers()
        optimizer = optimizers[net] if isinstance(optimizers, list) else optimizers
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.trainer.lr_scheduler_configs[net].scheduler.step()

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        optimizers = [self.optimizer([p for p in self.generator.parameters() if p.requires_grad])]
        if self.discriminator is not None:
            optimizers.append(self.discriminator_optimizer(self.discriminator.parameters()))
        return optimizers, [torch.optim.lr_scheduler.LambdaLR(o, self.schedule) for o in optimizers]

    @torch.no_grad()
    def translate(self, images: Tensor, tokens: Tensor, text_mask: Tensor) -> Tensor:
        """images: uint8 (N, 3, H, W); tokens: (1, L, E); text_mask: (1, L) -> uint8 (N, 3, H, W) on CPU."""
        return translate(self.averaged, images, tokens, text_mask)


class FineTuneModule(TranslatorModule):
    """Brief training from an initialisation; `train_seconds` counts training steps only, never evaluation.

    clock: "wall" (perf_counter) or "cpu" (this process's CPU time: what a one-thread run would take on an
    idle core, so that runs beside other load stay comparable). `train_seconds` starts at `init_seconds`, what
    making the initialisation took, and travels in the checkpoint.
    """

    def __init__(self, *args: Any, init_seconds: float = 0.0, clock: str = "wall", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clock = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
        self.register_buffer("train_seconds", torch.tensor(init_seconds, dtype=torch.float64))

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        self.batch_started = self.clock()

    def training_step(self, batch: Mapping[str, Tensor], batch_index: int) -> None:
        super().training_step(batch, batch_index)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # kernels are asynchronous: the clock must see them end
        self.train_seconds += self.clock() - self.batch_started

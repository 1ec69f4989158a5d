"""The loop that one would write without Lightning: pix2pix's step on the same nets, with the same arithmetic."""

from collections.abc import Callable, Mapping, Sequence

import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import l1_loss

from experiments.benchmarks.problem import Problem
from weightgen.errors import WeightgenError

OPTIONS = ("channels_last", "bf16", "fused", "compile", "cuda_graphs")
COMPILED = frozenset({"compile", "cuda_graphs"})  # wants a compiler, which may be missing


class HandLoop:
    """D on (real, fake), then G on cGAN + l1_weight * L1; `discriminator=None` is L1 alone.

    lean: of OPTIONS. channels_last and bf16 (autocast) change rounding; fused is the optimizer in one kernel; compile
    is torch.compile of both nets, cuda_graphs the same with CUDA graphs. Raises WeightgenError for others.
    """

    def __init__(
        self,
        work: Problem,
        generator: nn.Module,
        discriminator: nn.Module | None,
        device: torch.device,
        rate: Callable[[int], float] = lambda step: 1.0,
        lean: Sequence[str] = (),
    ) -> None:
        """work: whose budget trains; rate: the learning rates' factor at a step."""
        if unknown := set(lean) - set(OPTIONS):
            raise WeightgenError(f"bench.lean.options has {sorted(unknown)}: use some of {', '.join(OPTIONS)}")
        self.generator, self.discriminator, self.device = generator, discriminator, device
        self.bf16 = "bf16" in lean
        self.l1_weight, self.done = work.budget.l1_weight, 0
        self.rate = rate
        nets = [net.to(device) for net in (generator, discriminator) if net is not None]
        for net in nets:
            if "channels_last" in lean:
                net.to(memory_format=torch.channels_last)
            if COMPILED & set(lean):
                net.compile(mode="reduce-overhead" if "cuda_graphs" in lean else "default")
        budgets = work.budget.optimizer, work.budget.discriminator_optimizer
        fused = {"fused": True} if "fused" in lean else {}
        self.optimizers = [
            instantiate(budget)([p for p in net.parameters() if p.requires_grad], **fused)
            for net, budget in zip(nets, budgets, strict=False)
        ]
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self, batch: Mapping[str, Tensor]) -> None:
        """batch: as of `weightgen.batches.PairBatches`."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * self.rate(self.done)
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        torch.compiler.cudagraph_mark_step_begin()  # last step's outputs may be overwritten; nothing without CUDA graphs
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            self._update(batch)
        self.done += 1

    def _update(self, batch: Mapping[str, Tensor]) -> None:
        source, target = batch["source"].float() / 127.5 - 1, batch["target"].float() / 127.5 - 1
        fake = self.generator(source, batch["tokens"], batch["text_mask"])
        loss = self.l1_weight * l1_loss(fake, target)
        if self.discriminator is not None:
            real, made = self.discriminator(source, target), self.discriminator(source, fake.detach())
            error = 0.5 * (bce(real, torch.ones_like(real)) + bce(made, torch.zeros_like(made)))
            self.optimizers[1].zero_grad()
            error.backward()
            self.optimizers[1].step()
            self.discriminator.requires_grad_(False)
            judged = self.discriminator(source, fake)
            loss = loss + bce(judged, torch.ones_like(judged))
        self.optimizers[0].zero_grad()
        loss.backward()
        self.optimizers[0].step()
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)

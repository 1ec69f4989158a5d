"""A fleet: the LoRAs of many concepts, and their discriminators, trained at once against one frozen base."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import IterableDataset

from weightgen.errors import WeightgenError
from weightgen.schedules import Schedule
from weightgen.translation.fleet.batches import FleetBatches
from weightgen.translation.fleet.discriminators import StackedDiscriminator
from weightgen.translation.fleet.members import FleetResult, Member, Rows
from weightgen.translation.fleet.row_adam import AdamRows, RowAdam
from weightgen.translation.lora import LoraSpec
from weightgen.translation.losses import discriminator_loss, generator_loss
from weightgen.translation.stacked_lora import StackedLora
from weightgen.translation.training import OptimizerFactory, to_signed


class FleetModule(pl.LightningModule):
    """Trains every concept as a TranslatorModule of its own would: same weights, to float rounding.

    The losses of concepts are summed, so each one's gradient is its own run's; Adam is elementwise. At most `size`
    concepts train at a time; as one finishes, or its loss stops being finite, the next enters. Out of memory, the
    fleet halves `size`, lets the rest wait and repeats the step. A Trainer iterates `FleetSteps(fleet)`, in float32 or
    bf16-mixed (nothing here scales the loss).

    concepts: name -> its training steps; the i-th is concept i of `batches`.
    on_leave: receives each FleetResult, inside the training loop.
    discriminator: from whose weights each concept's own starts; None trains on L1 alone.
    claim: name -> whether the fleet may train it, asked as its turn comes; refused, the fleet does without it.
    lora: name -> its starting factors (as of `lora_state`); None is A at the shared seed, B = 0.
    check_every: fleet steps between looks at the losses, which with the concepts' leaving are the loop's only waits
    for the device; until the look a diverged concept trains on, to nobody's harm.
    """

    def __init__(
        self,
        base: nn.Module,
        spec: LoraSpec,
        concepts: Mapping[str, int],
        batches: FleetBatches,
        optimizer: OptimizerFactory,
        on_leave: Callable[[FleetResult], Any],
        *,
        size: int,
        discriminator: nn.Module | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        claim: Callable[[str], bool] = lambda name: True,
        lora: Callable[[str], Mapping[str, Tensor]] | None = None,
        l1_weight: float = 100.0,
        warmup_steps: int = 0,
        decay_start: float = 1.0,
        check_every: int = 50,
    ) -> None:
        super().__init__()
        if not concepts or min(size, check_every, *concepts.values()) < 1:
            raise ValueError("a fleet wants concepts, and size, check_every and all steps to be at least 1")
        if any(isinstance(module, _BatchNorm) and module.training for module in base.modules()):
            raise ValueError("batch norm in training mode would mix the concepts: call base.eval() first")
        self.automatic_optimization = False
        self.stacked = StackedLora(base, spec)
        self.batches, self.on_leave, self.check_every = batches, on_leave, check_every
        self.size, self.claim, self.lora = size, claim, lora
        self.l1_weight = l1_weight
        self.adam = {"lora": RowAdam(optimizer)}
        self.discriminator = None if discriminator is None else StackedDiscriminator(discriminator)
        if discriminator is not None:
            self.adam["discriminator"] = RowAdam(discriminator_optimizer or optimizer)
            self.new_discriminator = StackedDiscriminator.pack(discriminator)
        self.concepts = {
            name: (number, Schedule(warmup_steps, decay_start * steps, steps))
            for number, (name, steps) in enumerate(concepts.items())
        }
        self.members: list[Member] = []
        self.waiting = [Member(name, *numbered) for name, numbered in self.concepts.items()]
        self.fleet_step = 0
        self._sums: Tensor | None = None  # (C,) of the members' losses lately: finite while all of them were

    @property
    def done(self) -> bool:
        """Every concept has left."""
        return not (self.members or self.waiting)

    @property
    def total(self) -> int:
        """Steps of all concepts, whoever does them."""
        return sum(schedule.end for _, schedule in self.concepts.values())

    @property
    def remaining(self) -> int:
        """Steps still to do, summed over the concepts."""
        return sum(member.remaining for member in (*self.members, *self.waiting))

    def configure_optimizers(self) -> None:
        """None: the optimizers' state comes and goes with the concepts."""

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1 or str(self.trainer.precision).startswith("16-"):
            raise WeightgenError(
                f"a fleet trains on one device in float32 or bf16-mixed, not on {self.trainer.world_size} in "
                f"{self.trainer.precision}: change the trainer, or train one concept at a time with fleet.size=1"
            )
        self._keep(0)  # they enter again on the device of this fit

    def training_step(self, batch: Any, batch_index: int) -> None:
        """One step of every concept in the fleet; `batch` is not used (a Trainer fetches ahead of the fleet)."""
        if not self.members:
            self._admit()
        if self.done:
            return
        while not self._advance():
            self.size = (len(self.members) + 1) // 2
            self._keep(self.size)
        self.fleet_step += 1
        if any(member.remaining == 0 for member in self.members) or self.fleet_step % self.check_every == 0:
            healthy = dict(zip(self.members, self._sums.isfinite().tolist(), strict=True))  # waits for the device
            leaving = [member for member, well in healthy.items() if member.remaining == 0 or not well]
            self.members = [member for member in healthy if member not in leaving]
            for member in leaving:
                self.on_leave(self._result(member, healthy[member]))
            if self._admit() or leaving:
                self._sums = None

    def _admit(self) -> bool:
        """Fill free places; False if nobody entered."""
        before = len(self.members)
        while self.waiting and len(self.members) < self.size:
            member = self.waiting.pop(0)
            if self.claim(member.name):
                rows = member.rows or self._fresh(member.name)
                member.rows = {part: AdamRows(*(p.to(self.device) for p in one)) for part, one in rows.items()}
                self.members.append(member)
        return len(self.members) > before

    def _keep(self, count: int) -> None:
        """Members beyond `count` wait, with all they have learnt, to enter again before others."""
        self.waiting = self.members[count:] + self.waiting
        self.members, self._sums = self.members[:count], None

    def _fresh(self, name: str) -> Rows:
        """The rows, (P,) each, that a concept starts from."""
        start = self.stacked.zero(1)
        if self.lora is not None:
            start = {factor: weights[None] for factor, weights in self.lora(name).items()}
        fresh = {"lora": self.stacked.pack(start)[0]}
        if self.discriminator is not None:
            fresh["discriminator"] = self.new_discriminator
        return {part: RowAdam.start(weights) for part, weights in fresh.items()}

    def _result(self, member: Member, healthy: bool) -> FleetResult:
        factors = self.stacked.unpack(member.rows["lora"].weights[None])
        state = {name: factor[0].float().cpu().clone() for name, factor in factors.items()}
        finite = all(bool(factor.isfinite().all()) for factor in state.values())
        return FleetResult(member.name, state if finite and healthy else None, member.step, member.seconds)

    def _advance(self) -> bool:
        """False, and nothing has changed, if the device has not the memory for all members."""
        start, members = time.perf_counter(), self.members
        try:
            rows, losses = self._update(members)
        except torch.OutOfMemoryError:
            if len(members) == 1:
                raise
            return False
        self._sums = losses["l1"] if self._sums is None else self._sums + losses["l1"]
        self.last_losses = {f"train/{name}": value.mean() for name, value in losses.items()}
        for i, member in enumerate(members):
            member.rows = {part: AdamRows(*(p[i] for p in one)) for part, one in rows.items()}
            member.step += 1
            member.seconds += (time.perf_counter() - start) / len(members)
        return True

    def _update(self, members: Sequence[Member]) -> tuple[Rows, dict[str, Tensor]]:
        """pix2pix's step in every row: D on (real, fake), then G on cGAN + l1_weight * L1, as TranslatorModule's."""
        count, steps = len(members), [member.step for member in members]
        rows = {
            part: AdamRows(*map(torch.stack, zip(*(member.rows[part] for member in members), strict=True)))
            for part in members[0].rows
        }
        rates = [member.schedule(member.step) for member in members]
        data = self.batches.batch([member.concept for member in members], steps, self.device)
        source, target = to_signed(data["source"]), to_signed(data["target"])
        factors = rows["lora"].weights.requires_grad_()
        fake = self.stacked(source, data["tokens"], data["text_mask"], self.stacked.unpack(factors))
        source, target, fake = (images.unflatten(0, (count, -1)) for images in (source, target, fake))  # (C, B, ...)
        losses = {"l1": (fake - target).abs().flatten(1).mean(1)}
        loss = self.l1_weight * losses["l1"].sum()
        if self.discriminator is not None:
            weights = rows["discriminator"].weights.requires_grad_()
            shown = torch.cat([target, fake.detach()], 1)
            logits = self.discriminator(weights, torch.cat([source, source], 1), shown)
            losses["discriminator"] = discriminator_loss(*logits.chunk(2, 1))
            # all concepts have equally many logits: the sum of their losses is C times the mean over all
            (gradient,) = torch.autograd.grad(count * losses["discriminator"], weights)
            rows["discriminator"] = self.adam["discriminator"].update(rows["discriminator"], gradient, steps, rates)
            losses["gan"] = generator_loss(self.discriminator(rows["discriminator"].weights, source, fake))
            loss = loss + count * losses["gan"]
        (gradient,) = torch.autograd.grad(loss, factors)
        rows["lora"] = self.adam["lora"].update(rows["lora"], gradient, steps, rates)
        return rows, {name: value.detach() for name, value in losses.items()}

    def get_extra_state(self) -> dict[str, Any]:
        """The fleet's whole state; with it in a checkpoint, a resumed run equals an uninterrupted one."""
        inside = [*self.members, *self.waiting]
        held = [
            {
                "name": member.name,
                "step": member.step,
                "seconds": member.seconds,
                "rows": {part: tuple(one) for part, one in member.rows.items()},
            }
            for member in inside
            if member.rows is not None
        ]
        left = self.concepts.keys() - {member.name for member in inside}
        return {"fleet_step": self.fleet_step, "held": held, "left": sorted(left)}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Concepts of `state` that are unknown here (have become artifacts since) are ignored."""
        held = {one["name"]: one for one in state["held"] if one["name"] in self.concepts}
        begun = [
            Member(
                name,
                *self.concepts[name],
                rows={part: AdamRows(*parts) for part, parts in one["rows"].items()},
                step=one["step"],
                seconds=one["seconds"],
            )
            for name, one in held.items()
        ]
        gone = held.keys() | set(state["left"])
        new = [Member(name, *numbered) for name, numbered in self.concepts.items() if name not in gone]
        self.members, self.waiting = [], begun + new
        self.fleet_step, self._sums = state["fleet_step"], None


class FleetSteps(IterableDataset):
    """The numbers of the fleet's steps from `start` until every concept has left, for a Trainer to iterate.

    steps: how many there are from 0 on if none diverges and the size holds.
    """

    def __init__(self, fleet: FleetModule, start: int = 0) -> None:
        self.fleet, self.start = fleet, start
        places = [0] * fleet.size
        for _, schedule in fleet.concepts.values():  # each concept takes the place that is free first
            places[places.index(min(places))] += schedule.end
        self.steps = max(places)

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while not self.fleet.done:
            yield step
            step += 1

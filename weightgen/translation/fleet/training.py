"""A fleet: the LoRAs of many concepts, and their discriminators, trained at once against one frozen base."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import IterableDataset

from weightgen.errors import WeightgenError
from weightgen.schedules import Schedule
from weightgen.translation.fleet.roster import Member, Roster, Rows
from weightgen.translation.fleet.row_adam import RowAdam
from weightgen.translation.fleet.stacked_discriminator import StackedDiscriminator
from weightgen.translation.lora import LoraSpec
from weightgen.translation.losses import discriminator_loss, generator_loss
from weightgen.translation.stacked_lora import StackedLora
from weightgen.translation.training import OptimizerFactory, to_signed


class FleetResult(NamedTuple):
    """What leaves the fleet. state: as `lora_state` gives it, None if the concept diverged (loss not finite).

    seconds: of fleet steps, each step's shared equally by the concepts in it.
    """

    name: str
    state: dict[str, Tensor] | None
    steps: int
    seconds: float


class Batches(Protocol):
    """weightgen.translation.fleet.batches.FleetBatches, or what gives the same."""

    def batch(self, concepts: Sequence[int], steps: Sequence[int], device: torch.device) -> Mapping[str, Tensor]: ...


class FleetModule(pl.LightningModule):
    """Trains every concept as a TranslatorModule of its own would: same weights, to float rounding.

    The losses of concepts are summed, so each one's gradient is its own run's; Adam is elementwise. At most `size`
    concepts train at a time; as one finishes, or its loss stops being finite, the next enters. Out of memory, the
    fleet halves `size`, parks the rest and repeats the step. A Trainer iterates `FleetSteps(fleet)`, in float32 or
    bf16-mixed (nothing here scales the loss).

    concepts: name -> its training steps; the i-th is concept i of `batches`.
    on_leave: receives each FleetResult, inside the training loop.
    discriminator: name -> its untrained discriminator; None trains on L1 alone.
    claim: name -> whether the fleet may train it, asked as its turn comes; refused, the fleet does without it.
    lora: name -> its starting factors (as of `lora_state`); None is A at the shared seed, B = 0.
    check_every: fleet steps between looks at the losses, which with the concepts' leaving are the loop's only waits
    for the device; until the look a diverged concept trains on, to nobody's harm.
    form: of StackedDiscriminator; "loop" loops over the A convolutions too. None is the device's default.
    """

    def __init__(
        self,
        base: nn.Module,
        spec: LoraSpec,
        concepts: Mapping[str, int],
        batches: Batches,
        optimizer: OptimizerFactory,
        on_leave: Callable[[FleetResult], Any],
        *,
        size: int,
        discriminator: Callable[[str], nn.Module] | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        claim: Callable[[str], bool] = lambda name: True,
        lora: Callable[[str], Mapping[str, Tensor]] | None = None,
        l1_weight: float = 100.0,
        warmup_steps: int = 0,
        decay_start: float = 1.0,
        check_every: int = 50,
        form: str | None = None,
    ) -> None:
        super().__init__()
        if not concepts or min(size, check_every, *concepts.values()) < 1:
            raise ValueError("a fleet wants concepts, and size, check_every and all steps to be at least 1")
        if any(isinstance(module, _BatchNorm) and module.training for module in base.modules()):
            raise ValueError("batch norm in training mode would mix the concepts: call base.eval() first")
        self.automatic_optimization = False
        self.stacked = StackedLora(base, spec, None if form is None else form != "loop")
        self.schedules = [Schedule(warmup_steps, decay_start * steps, steps) for steps in concepts.values()]
        self.batches, self.on_leave, self.check_every = batches, on_leave, check_every
        self.new_lora, self.new_discriminator = lora, discriminator
        self.l1_weight = l1_weight
        self.adam = {"lora": RowAdam(optimizer)}
        if discriminator is not None:
            self.adam["discriminator"] = RowAdam(discriminator_optimizer or optimizer)
            self.discriminator = StackedDiscriminator(discriminator(next(iter(concepts))), form)
        self.roster = Roster(list(concepts), size, self._fresh, claim)
        self.fleet_step = 0
        self._sums: Tensor | None = None  # (C,) of the members' losses lately: finite while all of them were

    def _fresh(self, concept: int) -> Rows:
        name = self.roster.names[concept]
        start = self.stacked.zero(1)
        if self.new_lora is not None:
            given = self.new_lora(name)
            start = {factor: given[factor][None] for factor in start}
        fresh = {"lora": self.stacked.pack(start)[0]}
        if self.new_discriminator is not None:
            fresh["discriminator"] = self.discriminator.pack(self.new_discriminator(name))
        return {part: RowAdam.start(weights) for part, weights in fresh.items()}

    def configure_optimizers(self) -> None:
        """None: the optimizers' state comes and goes with the concepts."""

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1 or str(self.trainer.precision).startswith("16-"):
            raise WeightgenError(
                f"a fleet trains on one device in float32 or bf16-mixed, not on {self.trainer.world_size} in "
                f"{self.trainer.precision}: change the trainer, or train one concept at a time with fleet.size=1"
            )
        self.roster.park()  # they enter again on the device of this fit

    def training_step(self, batch: Any, batch_index: int) -> None:
        """One step of every concept in the fleet; `batch` is not used (a Trainer fetches ahead of the fleet)."""
        roster = self.roster
        if not roster.members:
            roster.admit(self.device)
        if roster.done:
            return
        while not self._advance():
            roster.resize((len(roster.members) + 1) // 2)
            self._sums = None
        self.fleet_step += 1
        over = [m.step == self.schedules[m.concept].end for m in roster.members]
        if any(over) or self.fleet_step % self.check_every == 0:
            healthy = self._sums.isfinite().tolist()  # waits for the device
            leaving = [end or not well for end, well in zip(over, healthy, strict=True)]
            diverged = [not well for well, leaves in zip(healthy, leaving, strict=True) if leaves]
            for (member, rows), bad in zip(roster.release(leaving), diverged, strict=True):
                self.on_leave(self._result(member, rows, bad))
            if roster.admit(self.device) or diverged:
                self._sums = None

    def _result(self, member: Member, rows: Rows, diverged: bool) -> FleetResult:
        factors = self.stacked.unpack(rows["lora"].weights[None])
        state = {name: factor[0].float().cpu().clone() for name, factor in factors.items()}
        finite = all(bool(factor.isfinite().all()) for factor in state.values())
        name = self.roster.names[member.concept]
        return FleetResult(name, state if finite and not diverged else None, member.step, member.seconds)

    def _advance(self) -> bool:
        """False, and nothing has changed, if the device has not the memory for all members."""
        start, members = time.perf_counter(), self.roster.members
        try:
            rows, losses = self._update(members, self.roster.rows)
        except torch.OutOfMemoryError:
            if len(members) == 1:
                raise
            return False
        self.roster.rows = rows
        self._sums = losses["l1"] if self._sums is None else self._sums + losses["l1"]
        self.last_losses = {f"train/{name}": value.mean() for name, value in losses.items()}
        for member in members:
            member.step += 1
            member.seconds += (time.perf_counter() - start) / len(members)
        return True

    def _update(self, members: Sequence[Member], rows: Rows) -> tuple[Rows, dict[str, Tensor]]:
        """pix2pix's step in every row: D on (real, fake), then G on cGAN + l1_weight * L1, as TranslatorModule's."""
        count, rows = len(members), dict(rows)
        concepts, steps = [m.concept for m in members], [m.step for m in members]
        rates = [self.schedules[c](step) for c, step in zip(concepts, steps, strict=True)]
        data = self.batches.batch(concepts, steps, self.device)
        source, target = to_signed(data["source"]), to_signed(data["target"])
        factors = rows["lora"].weights.detach().requires_grad_()
        fake = self.stacked(source, data["tokens"], data["text_mask"], self.stacked.unpack(factors))
        l1 = (fake - target).abs().unflatten(0, (count, -1)).flatten(1).mean(1)  # (C,)
        losses, loss = {"l1": l1}, self.l1_weight * l1.sum()
        if self.new_discriminator is not None:
            weights = rows["discriminator"].weights.detach().requires_grad_()
            pair = join(source, source, count), join(target, fake.detach(), count)
            logits = self.discriminator(weights, *pair).unflatten(0, (count, 2, -1))
            losses["discriminator"] = discriminator_loss(*logits.unbind(1))
            # all concepts have equally many logits: the sum of their losses is C times the mean over all
            (gradient,) = torch.autograd.grad(count * losses["discriminator"], weights)
            rows["discriminator"] = self.adam["discriminator"].update(rows["discriminator"], gradient, steps, rates)
            losses["gan"] = generator_loss(self.discriminator(rows["discriminator"].weights, source, fake))
            loss = loss + count * losses["gan"]
        (gradient,) = torch.autograd.grad(loss, factors)
        rows["lora"] = self.adam["lora"].update(rows["lora"], gradient, steps, rates)
        return rows, {name: value.detach() for name, value in losses.items()}

    @property
    def remaining(self) -> int:
        """Steps still to do, summed over the concepts."""
        roster = self.roster
        begun = [*roster.members, *(member for member, _ in roster.parked)]
        total = sum(self.schedules[c].end for c in [*(m.concept for m in begun), *roster.waiting])
        return total - sum(member.step for member in begun)

    def get_extra_state(self) -> dict[str, Any]:
        """The fleet's whole state; with it in a checkpoint, a resumed run equals an uninterrupted one."""
        return {"fleet_step": self.fleet_step, **self.roster.state()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.fleet_step, self._sums = state["fleet_step"], None
        self.roster.load(state)


class FleetSteps(IterableDataset):
    """The numbers of the fleet's steps from `start` until every concept has left, for a Trainer to iterate.

    steps: how many there are from 0 on if none diverges and the size holds.
    """

    def __init__(self, fleet: FleetModule, start: int = 0) -> None:
        self.fleet, self.start = fleet, start
        places = [0] * fleet.roster.size
        for schedule in fleet.schedules:  # each concept takes the place that is free first
            places[places.index(min(places))] += schedule.end
        self.steps = max(places)

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while not self.fleet.roster.done:
            yield step
            step += 1


def join(first: Tensor, second: Tensor, concepts: int) -> Tensor:
    """Two (C * B, ...), concept-major -> (C * 2B, ...): each concept's first half of one, second of the other."""
    return torch.stack([x.unflatten(0, (concepts, -1)) for x in (first, second)], 1).flatten(0, 2)

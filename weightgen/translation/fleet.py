"""A fleet: the LoRAs of many concepts, and their discriminators, trained at once against one frozen base."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import IterableDataset

from weightgen.translation.lora import LoraSpec
from weightgen.translation.losses import discriminator_loss, generator_loss
from weightgen.translation.module import OptimizerFactory, TranslatorModule, to_signed
from weightgen.translation.row_adam import AdamRows, RowAdam
from weightgen.translation.stacked import StackedLora
from weightgen.translation.stacked_discriminator import StackedDiscriminator

OUT_OF_MEMORY = (torch.OutOfMemoryError,)


class FleetResult(NamedTuple):
    """What leaves the fleet. state: as `lora_state` gives it, None if the concept diverged (loss not finite).

    seconds: of fleet steps, each step's shared equally by the concepts in it.
    """

    name: str
    state: dict[str, Tensor] | None
    steps: int
    seconds: float


class Batches(Protocol):
    """weightgen.data.fleet_batches.FleetBatches, or what gives the same."""

    def batch(
        self, concepts: Sequence[int], steps: Sequence[int], device: torch.device
    ) -> Mapping[str, Tensor]: ...


@dataclass
class Member:
    """A concept in the fleet: its place in the list of concepts, its updates so far and their seconds."""

    concept: int
    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """A concept's learning rate over its own steps, by TranslatorModule's formula."""

    warmup_steps: int
    decay_start: float
    max_steps: int
    rate = TranslatorModule.rate


class FleetModule(pl.LightningModule):
    """Trains every concept as a TranslatorModule of its own would: same weights, to float rounding.

    The losses of concepts are summed, so each one's gradient is its own run's; Adam is elementwise. At most `size`
    concepts train at a time; as one finishes, or its loss stops being finite, the next enters. Out of memory, the
    fleet halves `size`, parks the rest and repeats the step. Iterate `FleetSteps(fleet)` in a Trainer
    (float32 or bf16-mixed: nothing scales the loss).

    concepts: name -> its training steps; the i-th is concept i of `batches`.
    on_leave: receives each FleetResult, in the training loop.
    discriminator: name -> its untrained discriminator; None trains on L1 alone.
    lora: name -> its starting factors (`lora_state`); None is A at the shared seed, B = 0.
    check_every: fleet steps between looks at the losses, the loop's only wait for the device beside a concept's
    leaving; a diverged concept trains on till then, to nobody's harm.
    form: of StackedDiscriminator.
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
        lora: Callable[[str], Mapping[str, Tensor]] | None = None,
        l1_weight: float = 100.0,
        warmup_steps: int = 0,
        decay_start: float = 1.0,
        check_every: int = 50,
        form: str | None = None,
    ) -> None:
        super().__init__()
        if size < 1 or check_every < 1 or min(concepts.values(), default=1) < 1:
            raise ValueError("a fleet wants size, check_every and every concept's steps to be at least 1")
        if any(isinstance(module, _BatchNorm) and module.training for module in base.modules()):
            raise ValueError("batch norm in training mode would mix the concepts: call base.eval() first")
        self.automatic_optimization = False
        self.stacked = StackedLora(base, spec)
        self.names = list(concepts)
        self.schedules = [Schedule(warmup_steps, decay_start, steps) for steps in concepts.values()]
        self.batches, self.on_leave, self.size, self.check_every = batches, on_leave, size, check_every
        self.lora, self.l1_weight = lora, l1_weight
        self.adam = {"lora": RowAdam(optimizer)}
        self.new_discriminator = discriminator
        if discriminator is not None and concepts:
            self.adam["discriminator"] = RowAdam(discriminator_optimizer or optimizer)
            self.discriminator = StackedDiscriminator(discriminator(self.names[0]), form)
        self.fleet_step = 0
        self.members: list[Member] = []  # member i is row i of the following
        self.rows: dict[str, AdamRows] = {}
        self.healthy = torch.zeros(0)  # sums of losses since a member's entry or later: finite while all were
        self.parked: list[tuple[Member, dict[str, AdamRows]]] = []
        self.waiting = list(range(len(self.names)))

    @property
    def done(self) -> bool:
        """Every concept has left."""
        return not (self.members or self.parked or self.waiting)

    def configure_optimizers(self) -> None:
        """None: optimizer state belongs to the rows, which come and go."""

    def training_step(self, batch: Any, batch_index: int) -> None:
        """One step of every concept in the fleet; `batch` is ignored (a Trainer fetches ahead of the fleet)."""
        if not self.members:
            self._admit()
        if self.done:
            return
        while not self._step():
            self.resize((len(self.members) + 1) // 2)
        self.fleet_step += 1
        leaving = [m.step == self.schedules[m.concept].max_steps for m in self.members]
        if self.fleet_step % self.check_every == 0 or any(leaving):
            self._release(leaving)
            self._admit()

    def _step(self) -> bool:
        """False, and nothing has changed, if the device has not the memory for all members."""
        start = time.perf_counter()
        try:
            rows, losses = self._update()
        except OUT_OF_MEMORY:
            if len(self.members) == 1:
                raise
            return False
        self.rows, self.healthy = rows, self.healthy + losses["l1"]
        self.last_losses = {f"train/{name}": value.mean() for name, value in losses.items()}
        for member in self.members:
            member.step += 1
            member.seconds += (time.perf_counter() - start) / len(self.members)
        return True

    def _update(self) -> tuple[dict[str, AdamRows], dict[str, Tensor]]:
        """pix2pix's step (TranslatorModule's) in every row: D on (real, fake), then G on cGAN + l1_weight * L1."""
        concepts, steps = [m.concept for m in self.members], [m.step for m in self.members]
        rates = [self.schedules[c].rate(step) for c, step in zip(concepts, steps, strict=True)]
        count, rows = len(concepts), dict(self.rows)
        data = self.batches.batch(concepts, steps, self.device)
        source, target = to_signed(data["source"]), to_signed(data["target"])
        factors = rows["lora"].weights.detach().requires_grad_()
        fake = self.stacked(source, data["tokens"], data["text_mask"], self.stacked.unpack(factors))
        l1 = (fake - target).abs().unflatten(0, (count, -1)).flatten(1).mean(1)  # (C,)
        losses, loss = {"l1": l1.detach()}, self.l1_weight * l1.sum()
        if "discriminator" in rows:
            weights = rows["discriminator"].weights.detach().requires_grad_()
            both = [x.unflatten(0, (count, -1)) for x in (source, source, target, fake.detach())]
            pair = (torch.cat(both[:2], 1).flatten(0, 1), torch.cat(both[2:], 1).flatten(0, 1))
            real_logits, fake_logits = (
                self.discriminator(weights, *pair).unflatten(0, (count, 2, -1)).unbind(1)
            )
            losses["discriminator"] = discriminator_loss(real_logits, fake_logits)
            # concepts are equally many images: the sum over concepts is C times the mean over all
            (gradient,) = torch.autograd.grad(count * losses["discriminator"], weights)
            rows["discriminator"] = self.adam["discriminator"].update(
                rows["discriminator"], gradient, steps, rates
            )
            losses["gan"] = generator_loss(self.discriminator(rows["discriminator"].weights, source, fake))
            loss = loss + count * losses["gan"]
        (gradient,) = torch.autograd.grad(loss, factors)
        rows["lora"] = self.adam["lora"].update(rows["lora"], gradient, steps, rates)
        return rows, {name: value.detach() for name, value in losses.items()}

    def _fresh(self, concept: int) -> dict[str, AdamRows]:
        """The rows that a concept starts from."""
        start = self.stacked.zero(1)
        if self.lora is not None:
            given = self.lora(self.names[concept])
            start = {name: given[name][None].to(one) for name, one in start.items()}
        fresh = {"lora": self.stacked.pack(start)[0]}
        if self.new_discriminator is not None:
            fresh["discriminator"] = StackedDiscriminator.pack(self.new_discriminator(self.names[concept]))
        return {name: RowAdam.start(weights.to(self.device)) for name, weights in fresh.items()}

    def _admit(self) -> None:
        """Fill free places, first with those that were parked."""
        free = max(0, self.size - len(self.members))
        entering, self.parked = self.parked[:free], self.parked[free:]
        new = self.waiting[: free - len(entering)]
        self.waiting = self.waiting[len(new) :]
        entering += [(Member(concept), self._fresh(concept)) for concept in new]
        if entering:
            self._hold([*self._held(), *entering])

    def _release(self, finished: Sequence[bool]) -> None:
        """Let go of the finished and of the diverged; waits for the device."""
        stay = []
        healthy = self.healthy.isfinite().tolist()
        for (member, rows), well, over in zip(self._held(), healthy, finished, strict=True):
            if well and not over:
                stay.append((member, rows))
                continue
            factors = self.stacked.unpack(rows["lora"].weights[None])
            state = {name: factor[0].float().cpu().clone() for name, factor in factors.items()}
            well = well and all(bool(factor.isfinite().all()) for factor in state.values())
            name = self.names[member.concept]
            self.on_leave(FleetResult(name, state if well else None, member.step, member.seconds))
        if len(stay) < len(self.members):
            self._hold(stay)

    def resize(self, size: int) -> None:
        """At most `size` concepts from now on; members beyond park with all they have learnt."""
        held = self._held()
        self.size = size
        self._hold(held[:size])
        self.parked = held[size:] + self.parked

    def _held(self) -> list[tuple[Member, dict[str, AdamRows]]]:
        """Members with their rows, (P,) each: views, which stay valid since rows are never written in place."""
        return [
            (member, {name: AdamRows(*(part[i] for part in rows)) for name, rows in self.rows.items()})
            for i, member in enumerate(self.members)
        ]

    def _hold(self, held: Sequence[tuple[Member, dict[str, AdamRows]]]) -> None:
        self.members = [member for member, _ in held]
        self.rows = {
            name: AdamRows(*(torch.stack(parts).to(self.device) for parts in zip(*singles, strict=True)))
            for name in (held[0][1] if held else ())
            for singles in [[rows[name] for _, rows in held]]
        }
        self.healthy = torch.zeros(len(held), device=self.device)

    def get_extra_state(self) -> dict[str, Any]:
        """Everything that a resumed fleet needs, by the concepts' names."""
        held = [*self._held(), *self.parked]
        inside = {member.concept for member, _ in held} | set(self.waiting)
        return {
            "fleet_step": self.fleet_step,
            "held": [
                {
                    "name": self.names[member.concept],
                    "step": member.step,
                    "seconds": member.seconds,
                    "rows": {name: list(one) for name, one in rows.items()},
                }
                for member, rows in held
            ],
            "left": [name for concept, name in enumerate(self.names) if concept not in inside],
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; its concepts that are not this fleet's (have become artifacts since) are ignored."""
        number = {name: concept for concept, name in enumerate(self.names)}
        self.fleet_step = state["fleet_step"]
        self.members, self.rows = [], {}
        self.parked = [
            (
                Member(number[one["name"]], one["step"], one["seconds"]),
                {
                    name: AdamRows(*(part.to(self.device) for part in rows))
                    for name, rows in one["rows"].items()
                },
            )
            for one in state["held"]
            if one["name"] in number
        ]
        known = {one["name"] for one in state["held"]} | set(state["left"])
        self.waiting = [concept for name, concept in number.items() if name not in known]


class FleetSteps(IterableDataset):
    """The numbers of the fleet's steps from `start` until every concept has left, for a Trainer to iterate.

    steps: how many there will be from 0 if none diverges and `size` holds.
    """

    def __init__(self, fleet: FleetModule, start: int = 0) -> None:
        self.fleet, self.start = fleet, start
        places = [0] * min(fleet.size, len(fleet.names))
        for schedule in fleet.schedules:  # each concept takes the place that is free first
            first = places.index(min(places))
            places[first] += schedule.max_steps
        self.steps = max(places, default=0)

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while not self.fleet.done:
            yield step
            step += 1

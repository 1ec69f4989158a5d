"""Who is in a fleet, and what leaves it."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from weightgen.schedules import Schedule
from weightgen.translation.fleet.row_adam import AdamRows

Rows = dict[str, AdamRows]  # "lora" and perhaps "discriminator"; parts (C, P), or (P,) of a single concept


class FleetResult(NamedTuple):
    """What leaves the fleet. state: as `lora_state` gives it, None if the concept diverged (loss not finite).

    seconds: of fleet steps, each step's shared equally by the concepts in it.
    """

    name: str
    state: dict[str, Tensor] | None
    steps: int
    seconds: float


@dataclass(eq=False)
class Member:
    """A concept, number `concept` of the batches. rows: what it has learnt, None before it first enters; step: its updates
    so far; seconds: its share of the fleet's."""

    name: str
    concept: int
    schedule: Schedule
    rows: Rows | None = None
    step: int = 0
    seconds: float = 0.0

    @property
    def remaining(self) -> int:
        return self.schedule.end - self.step

"""The learning rate as a function of the step."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A factor on the optimizer's learning rate, in [0, 1]: it rises linearly over `warmup_steps`, and falls from 1 at step
    `start` to `floor` at step `end`, in a straight line or as half a cosine. With `end=None` it never falls.
    """

    warmup_steps: int = 0
    start: float = 0.0
    end: int | None = None
    floor: float = 0.0
    cosine: bool = False

    def __call__(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.end is None or step <= self.start:
            return warmup
        done = min(1.0, (step - self.start) / max(self.end - self.start, 1.0))
        fallen = 0.5 * (1 - math.cos(math.pi * done)) if self.cosine else done
        return warmup * (1 - (1 - self.floor) * fallen)

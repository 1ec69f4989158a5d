"""Who is in a fleet: concepts enter, wait aside and leave; the rows of those inside are stacked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from weightgen.translation.fleet.row_adam import AdamRows

Rows = dict[str, AdamRows]  # "lora" and perhaps "discriminator"; parts (C, P), or (P,) of a single concept


@dataclass
class Member:
    """concept: its place in the list of names; step: its updates so far; seconds: its share of the fleet's."""

    concept: int
    step: int = 0
    seconds: float = 0.0


class Roster:
    """At most `size` of the concepts `names` inside at a time; member i is row i of `rows`.

    fresh: concept -> the rows, (P,) each, that it starts from.
    claim: name -> whether it may enter; who may not is gone for good.
    """

    def __init__(
        self,
        names: Sequence[str],
        size: int,
        fresh: Callable[[int], Rows],
        claim: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self.names, self.size, self.fresh, self.claim = list(names), size, fresh, claim
        self.members: list[Member] = []
        self.rows: Rows = {}
        self.parked: list[tuple[Member, Rows]] = []
        self.waiting = list(range(len(self.names)))

    @property
    def done(self) -> bool:
        """Every concept has left."""
        return not (self.members or self.parked or self.waiting)

    def admit(self, device: torch.device) -> bool:
        """Fill free places, first with those that were parked; False if nobody entered. Rows move to `device`."""
        entering: list[tuple[Member, Rows]] = []
        while len(self.members) + len(entering) < self.size and (self.parked or self.waiting):
            member, rows = self.parked.pop(0) if self.parked else (Member(self.waiting.pop(0)), None)
            if self.claim(self.names[member.concept]):
                entering.append((member, self.fresh(member.concept) if rows is None else rows))
        if entering:
            self._hold([*self._held(), *entering], device)
        return bool(entering)

    def release(self, leaving: Sequence[bool]) -> list[tuple[Member, Rows]]:
        """Let go of the members marked in `leaving`, and return them."""
        marked = list(zip(self._held(), leaving, strict=True))
        gone = [one for one, leaves in marked if leaves]
        if gone:
            self._hold([one for one, leaves in marked if not leaves])
        return gone

    def resize(self, size: int) -> None:
        """At most `size` from now on; members beyond park with all they have learnt."""
        self.size = size
        self.park(size)

    def park(self, keep: int = 0) -> None:
        """Set aside all members but the first `keep`, to enter again before others."""
        held = self._held()
        self._hold(held[:keep])
        self.parked = held[keep:] + self.parked

    def _held(self) -> list[tuple[Member, Rows]]:
        """Members with their own rows: views, which stay valid since rows are never written in place."""
        return [
            (member, {name: AdamRows(*(part[i] for part in rows)) for name, rows in self.rows.items()})
            for i, member in enumerate(self.members)
        ]

    def _hold(self, held: Sequence[tuple[Member, Rows]], device: torch.device | None = None) -> None:
        self.members = [member for member, _ in held]
        self.rows = {}
        for name in held[0][1] if held else ():
            parts = zip(*(rows[name] for _, rows in held), strict=True)
            self.rows[name] = AdamRows(*(torch.stack([p.to(device) for p in part]) for part in parts))

    def state(self) -> dict[str, Any]:
        """Everything that `load` needs, by the concepts' names."""
        held = [*self._held(), *self.parked]
        inside = {member.concept for member, _ in held} | set(self.waiting)
        return {
            "held": [
                {
                    "name": self.names[member.concept],
                    "step": member.step,
                    "seconds": member.seconds,
                    "rows": {name: tuple(one) for name, one in rows.items()},
                }
                for member, rows in held
            ],
            "left": [name for concept, name in enumerate(self.names) if concept not in inside],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; concepts of it that are unknown here (have become artifacts since) are ignored."""
        number = {name: concept for concept, name in enumerate(self.names)}
        self.members, self.rows, self.parked = [], {}, []
        for one in state["held"]:
            if one["name"] in number:
                rows = {name: AdamRows(*parts) for name, parts in one["rows"].items()}
                self.parked.append((Member(number[one["name"]], one["step"], one["seconds"]), rows))
        known = {one["name"] for one in state["held"]} | set(state["left"])
        self.waiting = [concept for name, concept in number.items() if name not in known]

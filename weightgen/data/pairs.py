"""What an editor hands over: the pairs of a concept, a pair being a photo and its edit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """targets[part]: the edits, uint8 (N, 3, S, S), part being "train" or "test".

    sources[part]: the photos they were made of, one by one; None where those are the photos that the editor was given.
    report: counts for people. again[part]: the targets of a second draw, of an editor whose edits vary.
    """

    targets: "Mapping[str, Tensor]"
    sources: "Mapping[str, Tensor] | None" = None
    report: Mapping[str, Any] = field(default_factory=dict)
    again: "Mapping[str, Tensor]" = field(default_factory=dict)

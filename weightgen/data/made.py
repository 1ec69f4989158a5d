"""What an editor hands over: a concept's pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

PARTS = ("train", "test")


@dataclass(frozen=True)
class MadePairs:
    """targets[part]: uint8 (N, 3, S, S), part being "train" or "test".

    sources: what each target was made of, None where that is the photos given, one by one. report: counts for people.
    """

    targets: Mapping[str, Tensor]
    sources: Mapping[str, Tensor] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

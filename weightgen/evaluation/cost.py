"""When does the cost paid once (zoo, denoiser) earn itself back?"""

import math
from collections.abc import Mapping
from typing import Any

from weightgen.evaluation.results import columns

COST_COLUMNS = columns(
    "method fixed_seconds seconds_per_concept rival rival_fixed_seconds rival_seconds_per_concept break_even_concepts"
)


def break_even(fixed_seconds: float, per_concept_ours: float, per_concept_rival: float) -> float:
    """Concepts n from which fixed + n ours <= n rival; inf when never, 0 when at once. All in seconds.

    fixed_seconds: what ours costs once beyond what the rival costs once; negative where ours costs less.
    Raises ValueError on negative or undefined seconds per concept.
    """
    if not (per_concept_ours >= 0 and per_concept_rival >= 0 and math.isfinite(fixed_seconds)):
        raise ValueError(f"seconds: {fixed_seconds}, {per_concept_ours}, {per_concept_rival}")
    if math.isinf(per_concept_ours):
        return math.inf
    saved = per_concept_rival - per_concept_ours
    if saved <= 0:
        # A head start that every concept eats into is no break-even; a free tie is one.
        return 0.0 if saved == 0 and fixed_seconds <= 0 else math.inf
    return max(0.0, fixed_seconds / saved)


def cost_table(ours: str, fixed: Mapping[str, float], per_concept: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """-> dicts with COST_COLUMNS, ours against every other method in per_concept.

    fixed: method -> seconds spent once before its first new concept (base, zoo, denoiser; 0 where absent);
    per_concept: method -> seconds to the same quality, e.g. summary's seconds_to_target (None: never).
    """
    if ours not in per_concept:
        raise ValueError(f"per_concept has no {ours!r}, only {sorted(per_concept)}")
    seconds = {name: math.inf if value is None else float(value) for name, value in per_concept.items()}
    return [
        {
            "method": ours,
            "fixed_seconds": float(fixed.get(ours, 0.0)),
            "seconds_per_concept": seconds[ours],
            "rival": rival,
            "rival_fixed_seconds": float(fixed.get(rival, 0.0)),
            "rival_seconds_per_concept": seconds[rival],
            "break_even_concepts": break_even(
                float(fixed.get(ours, 0.0)) - float(fixed.get(rival, 0.0)), seconds[ours], seconds[rival]
            ),
        }
        for rival in seconds
        if rival != ours
    ]

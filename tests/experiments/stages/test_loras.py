"""What is said of a trained LoRA: better than the base, diverged, or unchanged; only the first may be in a zoo."""

import pytest

from experiments.pipeline.build import Pipeline
from experiments.stages.lora import summarise, usable
from tests.helpers.configs import composed
from weightgen.errors import WeightgenError


def test_a_lora_is_better_diverged_or_unchanged() -> None:
    rows = {
        "good": {"l1": 0.1, "l1_zero": 0.2, "diverged": False, "unchanged": False},
        "worse": {"l1": 0.3, "l1_zero": 0.2, "diverged": False, "unchanged": False},
        "same": {"l1": 0.1999, "l1_zero": 0.2, "diverged": False, "unchanged": True},
        "far": {"l1": 0.9, "l1_zero": 0.2, "diverged": True, "unchanged": False},
    }
    assert [name for name, row in rows.items() if usable(row)] == ["good", "worse"]
    assert summarise(rows) == (
        "1 of 4 LoRAs beat the base at zero LoRA on validation L1; excluded as diverged: far; "
        "excluded as unchanged by their training: same"
    )


@pytest.mark.parametrize(("rate", "metric"), [("1e-30", "unchanged"), ("1e30", "diverged")])
def test_a_zoo_without_usable_loras_says_why(tmp_path, rate: str, metric: str) -> None:
    overrides = ["experiment=smoke", "logger=csv", "strategy.workers=1", f"paths.artifacts={tmp_path}", "zoo.size=2"]
    p = Pipeline(composed(*overrides, f"budget.lora.optimizer.lr={rate}"))
    with pytest.raises(
        WeightgenError, match=r"2 of 2 LoRAs of the zoo diverged .* or were not changed .*: 2 are needed"
    ):
        p.ensure(p.blocks)
    assert all(p.store.metrics(p.lora(concept))[metric] for concept in p.zoo)

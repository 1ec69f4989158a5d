"""zoo.beyond: training through the base reads the pairs of train concepts that have no LoRA."""

from pathlib import Path

import pytest

from experiments.options.check import check
from experiments.pipeline.build import Pipeline
from experiments.pipeline.stage import Inputs
from experiments.stages.function import function_batches
from experiments.training.payloads import load_blocks
from tests.helpers.apps import Runs
from tests.helpers.configs import composed
from weightgen.errors import WeightgenError

SMOKE = ["experiment=smoke", "logger=csv", "strategy.workers=1", "zoo.size=4"]


@pytest.mark.parametrize(("beyond", "read", "without"), [(False, 4, 0), (True, 6, 2)])
def test_batches_hold_concepts_without_a_lora_where_wanted(
    tmp_path: Path, beyond: bool, read: int, without: int
) -> None:
    pipeline = Pipeline(composed(*SMOKE, f"zoo.beyond={str(beyond).lower()}", f"paths.artifacts={tmp_path}"))
    spec = pipeline.generator
    for source in spec.inputs:
        pipeline.ensure(source)
    assert sum(source.stage == "lora" for source in pipeline.blocks.inputs) == 4
    inputs = Inputs.of(pipeline.store, spec)
    zoo, *_ = load_blocks(inputs.one("blocks").folder)
    batches = function_batches(
        spec.config | {"budget": spec.config["budget"] | {"concepts": 6}}, inputs, zoo, zoo.blocks, 1
    )
    batch = batches.batch(0)
    assert len(batch["own"]) == read
    assert sum(not own.any() for own in batch["own"]) == without
    assert len({tuple(picture.flatten().tolist()) for picture in batch["target"]}) == read


def test_keys_without_it_are_what_they_were() -> None:
    plain, beyond = (Pipeline(composed(*SMOKE, f"zoo.beyond={value}")).generator for value in ("false", "true"))
    assert [spec.config.get("beyond") for spec in (plain, beyond)] == [None, True]
    assert [len(spec.config["concepts"]) for spec in (plain, beyond)] == [4, 6]
    assert plain.upstream("denoiser") == beyond.upstream("denoiser")


def test_the_weight_loss_wants_a_lora_of_every_concept() -> None:
    with pytest.raises(WeightgenError, match=r"zoo\.beyond=true.*weight_loss=0"):
        check(composed(*SMOKE, "zoo.beyond=true", "budget.function.weight_loss=0.1"))


def test_a_zoo_smaller_than_its_train_concepts_is_compared_by_its_own_loras(smoke: Runs, tmp_path: Path) -> None:
    given = ["logger=csv", "strategy.workers=1", "zoo.size=4", "zoo.beyond=true", f"paths.reports={tmp_path}"]
    given += ["methods=[e2gan,generated]", "splits=[unseen_factor]", "budget.finetune.lora.steps=0"]
    smoke("evaluate", *given)
    said = (tmp_path / "smoke" / "report.md").read_text()
    assert "of 4 LoRAs" in said
    assert "of 4 LoRAs" in smoke("train_loras", "logger=csv", "zoo.size=4").stderr

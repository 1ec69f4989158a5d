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
from weightgen.files import read_json

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


def test_they_change_nothing_before_training_through_the_base() -> None:
    small = ["experiment=smoke", "logger=csv", "concepts.train=4", "budget.base.concepts=2"]
    more = [*small[:2], "concepts.train=6", "budget.base.concepts=2", "zoo.size=4", "zoo.beyond=true"]
    alone, beyond = Pipeline(composed(*small)), Pipeline(composed(*more))
    assert alone.base_spec.key == beyond.base_spec.key
    assert alone.denoiser.key == beyond.denoiser.key
    assert alone.generator.key != beyond.generator.key
    alone, beyond = (Pipeline(composed(*options, "base=all")) for options in (small, more))
    assert [len(pipeline.base_spec.config["concepts"]) for pipeline in (alone, beyond)] == [4, 6]


@pytest.mark.parametrize(
    ("budget", "remedy"), [("weight_loss=0.1", r"weight_loss=0"), ("steps=0", r"budget\.function\.steps above 0")]
)
def test_training_through_the_base_must_be_able_to_read_them(budget: str, remedy: str) -> None:
    with pytest.raises(WeightgenError, match=rf"zoo\.beyond=true.*{remedy}"):
        check(composed(*SMOKE, "zoo.beyond=true", f"budget.function.{budget}"))


def test_the_learned_steps_read_them_too() -> None:
    check(composed(*SMOKE, "zoo.beyond=true", "budget.function.steps=0", "methods=[e2gan,guided]"))


def test_a_zoo_smaller_than_its_train_concepts_is_compared_by_its_own_loras(smoke: Runs, tmp_path: Path) -> None:
    given = ["logger=csv", "strategy.workers=1", "zoo.size=4", "zoo.beyond=true", f"paths.reports={tmp_path}"]
    given += ["methods=[e2gan,generated]", "splits=[unseen_factor]", "budget.finetune.lora.steps=0"]
    smoke("evaluate", *given)
    said = (tmp_path / "smoke" / "report.md").read_text()
    assert "of 4 LoRAs" in said
    generator = tmp_path / "smoke" / "generator"
    assert len(read_json(generator / "generator.json")["known"]) == 6  # whose pairs it has seen
    assert "FID end" not in (generator / "README.md").read_text()  # nothing was fine-tuned
    assert "of 4 LoRAs" in smoke("train_loras", "logger=csv", "zoo.size=4").stderr

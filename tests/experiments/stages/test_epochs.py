"""budget.finetune.epochs: passes over a concept's pairs in place of steps, as the paper counts."""

import pytest

from experiments.pipeline.graph import StageGraph
from experiments.pipeline.options import Options
from experiments.stages import pairs
from experiments.stages.finetune import epoch_steps
from tests.helpers.configs import composed
from weightgen.errors import WeightgenError

EPOCHS = "budget.finetune.epochs={scratch: 200, lora: 100, generated: 20}"


def steps(*options: str) -> dict[str, int]:
    graph = StageGraph(composed("experiment=smoke", *options))
    concept = graph.test_concepts[0]
    methods = ("pix2pix", "e2gan", "nearest", "few_steps", "generated", "guided", "trained")
    return {method: graph.finetune(method, concept, 0).config["budget"]["steps"] for method in methods}


def test_steps_are_passes_times_pairs_over_the_batch():
    """12 pairs a concept in batches of 4: three steps a pass; with 6 pairs one and a half."""
    assert steps(EPOCHS) == {
        "pix2pix": 600,
        "e2gan": 300,
        "nearest": 300,
        "few_steps": 300,
        "generated": 60,
        "guided": 60,
        "trained": 0,  # it has had its training
    }
    few = steps(EPOCHS, "pairs=6")
    assert (few["pix2pix"], few["e2gan"], few["generated"]) == (300, 150, 30)
    assert steps("budget.finetune.epochs={generated: 1}", "pairs=5") == steps("pairs=5") | {"generated": 1, "guided": 1}


def test_without_it_keys_are_what_they_were():
    graph = StageGraph(composed("experiment=smoke"))
    budget = graph.finetune("e2gan", graph.test_concepts[0], 0).config["budget"]
    assert budget.keys().isdisjoint({"epochs", "ema_decay"})
    assert budget["steps"] == 4


def test_pairs_of_ones_own_must_be_counted(monkeypatch):
    monkeypatch.setattr(pairs, "premade", lambda options: object())
    options = ["experiment=smoke"]
    with pytest.raises(WeightgenError, match="add pairs=<number>"):
        epoch_steps(Options(composed(*options)), 10, 4)
    assert epoch_steps(Options(composed(*options, "pairs=8")), 10, 4) == 20

"""The zoo keeps weights and their origin together, and refuses what cannot be mixed."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from weightgen.errors import WeightgenError
from weightgen.weights.zoo import Zoo, ZooEntry

ENTRY = ZooEntry("mosaic-sepia", "a mosaic in sepia, “тест”", "train", 0, 500, "3fa1", "77be", {"l1": 0.1})
OTHER = replace(ENTRY, concept="ink-teal")


def sets(n: int) -> list[torch.Tensor]:
    return list(torch.randn(n, 3, 4, generator=torch.Generator().manual_seed(0)))


def test_save_and_load_are_inverse(tmp_path):
    zoo = Zoo.collect([ENTRY, OTHER], sets(2))
    zoo.save(tmp_path)
    again = Zoo.load(tmp_path)
    assert again.entries == (ENTRY, OTHER)
    assert torch.equal(again.blocks, torch.stack(sets(2)))


def test_one_concept_may_have_several_training_seeds():
    assert Zoo.collect([ENTRY, replace(ENTRY, seed=1)], sets(2)).blocks.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "zoo is empty.*make loras"),
        ([ENTRY, replace(OTHER, base="0000")], "different bases or layouts"),
        ([ENTRY, replace(OTHER, layout="0000")], "different bases or layouts"),
        ([OTHER, ENTRY, ENTRY], "'mosaic-sepia' is in the zoo twice"),
    ],
)
def test_sets_that_cannot_form_one_zoo_are_refused(entries, message):
    with pytest.raises(WeightgenError, match=message):
        Zoo.collect(entries, sets(len(entries)))


def test_manifest_and_weights_that_disagree_are_refused(tmp_path):
    Zoo.collect([ENTRY, OTHER], sets(2)).save(tmp_path)
    save_file({"blocks": torch.zeros(3, 3, 4)}, tmp_path / "zoo.safetensors")
    with pytest.raises(WeightgenError, match="2 manifest rows, 3 weight sets; run make blocks"):
        Zoo.load(tmp_path)
    assert json.loads((tmp_path / "zoo.json").read_text())[0]["base"] == "3fa1"

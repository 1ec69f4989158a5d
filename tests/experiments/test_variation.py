"""Edits that vary, end to end: tables and curves show how far two draws are apart, and no race is run against that."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from experiments.pipeline.graph import StageGraph
from tests.helpers.apps import Runs, one_line_error
from tests.helpers.configs import composed
from weightgen.evaluation.methods import FLOOR, label


def table(folder, name):
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_comparison_shows_the_second_draw(tmp_path):
    run = Runs(tmp_path)
    options = ["editor.variation=1", "methods=[pix2pix,e2gan,trained]", "splits=[unseen_combination]", "logger=csv"]
    run("evaluate", *options)
    folder = tmp_path / "reports" / "smoke"
    rows = {row["method"]: row for row in table(folder, "summary")}
    floor = rows[FLOOR]
    apart = []
    for pairs in (tmp_path / "artifacts" / "pairs").iterdir():
        if (pairs / "again.safetensors").exists():
            label_of = json.loads((pairs / "spec.json").read_text())["config"]["prompt"]
            first, second = (load_file(pairs / f"{name}.safetensors")["test"] for name in ("targets", "again"))
            apart.append((label_of, float((first.float() - second.float()).abs().mean()) / 255))
    graph = StageGraph(composed("experiment=smoke", "editor.variation=1"))
    wanted = {concept.prompt for concept in graph.split("unseen_combination")}
    expected = [value for prompt, value in apart if prompt in wanted]
    assert len(expected) == len(wanted) == int(floor["concepts"])
    assert float(floor["l1_start"]) == pytest.approx(sum(expected) / len(expected), rel=1e-6)
    assert 0 < float(floor["fid_start"]) < float(rows["e2gan"]["fid_start"])
    assert (floor["speedup"], floor["censored"]) == ("", "")
    for name, column in (("races", "method"), ("wins", "rival")):
        assert FLOOR not in {row[column] for row in table(folder, name)}
    assert label(FLOOR) in (folder / "report.md").read_text()


def test_no_floor_where_edits_do_not_vary_and_keys_are_what_they_were():
    plain, varied = (StageGraph(composed("experiment=smoke", f"editor.variation={value}")) for value in (0, 0.5))
    usual = StageGraph(composed("experiment=smoke"))
    concept = usual.test_concepts[0]
    assert not plain.floors()
    assert usual.pairs(concept).key == plain.pairs(concept).key != varied.pairs(concept).key
    assert set(varied.floors()) == set(varied.test_concepts)
    one = StageGraph(composed("experiment=smoke", "editor.variation.phase=1"))
    assert one.pairs(concept).config["editor"]["variation"] == {"phase": 1}


@pytest.mark.parametrize("value", ["2", "much", "{hue: 1}", "{scale: -1}"])
def test_a_wrong_dial_is_one_line(tmp_path, value):
    result = Runs(tmp_path)("collect_pairs", f"editor.variation={value}", check=False)
    one_line_error(result, "editor.variation")


def test_zoo_and_fine_tunes_learn_from_the_first_draw_alone(tmp_path):
    run = Runs(tmp_path)
    run("collect_pairs", "editor.variation=1", "logger=csv")
    for pairs in (tmp_path / "artifacts" / "pairs").glob("[0-9a-f]*"):
        again = load_file(pairs / "again.safetensors")
        assert again.keys() == {"validation", "test"}
        targets = load_file(pairs / "targets.safetensors")
        assert all(again[part].shape == targets[part].shape for part in again)
        assert not torch.equal(again["test"], targets["test"])

"""Each fine-tune of a finished comparison loads again by method, concept and seed."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from experiments.command.finetuned import finetuned
from weightgen.errors import MissingArtifact
from weightgen.generation.translator import Translator


def test_a_run_loads_as_it_ended(smoke, tmp_path):
    report, artifacts = tmp_path / "reports" / "smoke", smoke.folder / "artifacts"
    options = ["methods=[e2gan,pix2pix,generated]", "splits=[unseen_factor]", "strategy.workers=1"]
    options += ["budget.finetune.ema_decay=0.5"]  # the averaged weights are what is measured and kept
    smoke("evaluate", *options, f"paths.reports={report.parent}")
    with (report / "results.csv").open() as file:
        concept = next(csv.DictReader(file))["concept"]
    runs = [artifacts / "finetune" / key for key in json.loads((report / "runs.json").read_text())]
    for method in ("generated", "pix2pix"):
        translator = finetuned(report, method, concept, 0, artifacts)
        (run,) = [each for each in runs if f'"finetune {method} {concept} 0"' in (each / "spec.json").read_text()]
        inputs = {each["stage"]: each["key"] for each in json.loads((run / "inputs.json").read_text())}
        images = load_file(artifacts / "photos" / inputs["photos"] / "photos.safetensors")["test"]
        samples = load_file(run / "samples.safetensors")
        assert torch.equal(translator(images[samples["rows"]]), samples["end"])
        translator.save(tmp_path / method)
        assert torch.equal(Translator.load(tmp_path / method)(images[:2]), translator(images[:2]))
    with pytest.raises(MissingArtifact, match=rf"no run of nothing, {concept}, seed 0. There are: e2gan"):
        finetuned(report, "nothing", concept, 0, artifacts)
    with pytest.raises(MissingArtifact, match=r"holds no runs\.json"):
        finetuned(tmp_path, "generated", concept)

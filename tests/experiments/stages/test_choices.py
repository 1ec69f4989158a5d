"""Choices read train and validation photos alone; what is reported is measured on test photos, at log-spaced steps."""

import json
from pathlib import Path

import pytest
import torch

from experiments.pipeline.build import Pipeline
from experiments.pipeline.graph import STAGES
from experiments.pipeline.plan import plan
from experiments.pipeline.progress import spell
from experiments.stages.finetune import measured_at, shown_rows
from experiments.training import payloads
from tests.helpers.configs import composed
from weightgen.choices import make
from weightgen.data.photos import PHOTOS


class Sealed(dict):
    """Tensors of a file, of which those of test photos are not to be looked at."""

    def __getitem__(self, name: str) -> torch.Tensor:
        assert name != "test", "a choice looked at test photos"
        return super().__getitem__(name)


def test_nothing_that_is_chosen_or_learned_looks_at_a_test_photo(tmp_path: Path, monkeypatch) -> None:
    read = payloads.tensors
    monkeypatch.setattr(payloads, "tensors", lambda path: Sealed(read(path)) if "test" in read(path) else read(path))
    p = Pipeline(composed("experiment=smoke", "logger=csv", "strategy.workers=1", f"paths.artifacts={tmp_path}"))
    photos = [p.pairs(concept) for concept in p.concepts]
    p.ensure_all(photos)  # an editor edits every photo
    validation = p.split("validation")
    for wanted in (
        [p.lora(concept) for concept in (*p.split("train"), *validation)],
        [p.generator, p.guide],
        [p.fitted(name) for name in ("ridge", "mlp", "nearest_k", "few_steps", "generated_few_steps")],
        [p.init(name, concept, 0) for name in p.methods for concept in p.test_concepts if p.init(name, concept, 0)],
    ):
        p.ensure_all(wanted)
    searched = Pipeline(composed("experiment=smoke", "logger=csv", "strategy.workers=1", "scored=validation",
                                 "splits=[validation]", f"paths.artifacts={tmp_path}"))  # fmt: skip
    searched.ensure(searched.finetune("e2gan", validation[0], 0))
    with pytest.raises(AssertionError, match="test photos"):
        p.ensure(p.finetune("e2gan", p.test_concepts[0], 0))


@pytest.mark.parametrize("source", ["bundled", "folder", "hub", "torchvision"])
def test_every_source_of_photos_has_three_parts(source: str) -> None:
    cfg = composed(f"photos={source}", *([] if source == "bundled" else ["photos.root=/x"]))
    photos = make(PHOTOS, {**cfg.photos})
    assert photos.counts == {"train": 96, "validation": 24, "test": 48}


@pytest.mark.parametrize(
    ("steps", "points", "expected"),
    [
        (40, 10, [0, 1, 2, 3, 4, 6, 10, 16, 25, 40]),
        (800, 6, [0, 4, 15, 57, 213, 800]),
        (4, 3, [0, 1, 4]),
        (3, 10, [0, 1, 2, 3]),  # no step is measured twice
        (0, 10, [0]),
        (0, [], [0]),
        (40, [5, 15], [0, 5, 15, 40]),
        (40, [40, 60], [0, 40]),
        (100, 2, [0, 1, 100]),
    ],
)
def test_measurements_are_log_spaced_from_the_first_to_the_last_step(steps, points, expected) -> None:
    assert measured_at(steps, points) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, [3, 2, 5, 0]),
        (["a", "a", "b", "b", "c", "c"], [3, 5, 0, 2]),  # one of each photo, then the next in detail
        (["a", "b", "c", "d", "e", "f"], [3, 2, 5, 0]),
    ],
)
def test_crops_with_the_most_detail_are_shown_of_different_photos(names, expected) -> None:
    assert shown_rows([4.0, 1.0, 6.0, 9.0, 2.0, 5.0], names) == expected


def test_a_fine_tune_says_where_it_was_made_and_how_long_it_took(tmp_path: Path) -> None:
    from experiments.reports.runs import result_rows

    overrides = ["experiment=smoke", "logger=csv", "strategy.workers=1", f"paths.artifacts={tmp_path}"]
    p = Pipeline(composed(*overrides))
    spec = p.finetune("e2gan", p.test_concepts[0], 0)
    p.ensure(spec)
    told = json.loads((p.store.path(spec) / "provenance.json").read_text())
    assert (told["device"], told["threads"], told["precision"]) == ("cpu x1", 1, "32-true")
    again = p.finetune("e2gan", p.test_concepts[0], 1)
    lines = plan(p.store, [again], STAGES).splitlines()
    assert ["finetune", "1", *spell(p.store.metrics(spec)["seconds"]).split()] in [line.split() for line in lines]
    other = Pipeline(composed(*overrides, "strategy.threads=2"))
    assert {row["device"] for row in result_rows(other, [spec])} == {"cpu x1"}

"""fleet.shard splits the zoo over jobs: nothing twice, nothing left out."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from experiments.pipeline.build import Pipeline
from experiments.pipeline.shards import share
from tests.helpers.configs import composed
from weightgen.errors import WeightgenError


def part(items: Sequence, **fleet: object) -> list:
    return share(OmegaConf.create({"fleet": {"shard": None, "shards": None, **fleet}}), items)


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 6, 7, 100])
def test_shards_have_no_overlap_and_no_gap(shards: int) -> None:
    parts = [part("abcdef", shard=k, shards=shards) for k in range(shards)]
    assert sorted(item for each in parts for item in each) == list("abcdef")
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_shard_a_job_does_all() -> None:
    assert part("abc") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("fleet", "said"),
    [
        ({"shard": 0}, r"fleet\.shards=<how many>"),  # and no sweep to read it from
        ({"shard": 4, "shards": 4}, "choose 0 to"),
        ({"shard": -1, "shards": 4}, "choose 0 to"),
        ({"shard": "one", "shards": 4}, "choose 0 to"),
        ({"shards": 4}, r"range\(0,4\)"),
    ],
)
def test_shards_that_make_no_sense_are_named_with_their_remedy(fleet: dict[str, object], said: str) -> None:
    with pytest.raises(WeightgenError, match=said):
        part("abc", **fleet)


@pytest.mark.parametrize(
    ("task", "shards"),
    [
        (["experiment=smoke", "fleet.shard=range(0,4)"], 4),
        (["fleet.shard=0,1,2", "seed=0,1"], 3),
        (["fleet.shard=range(0,4)", "fleet.shard=range(0,3)"], 3),  # the later override wins, as in Hydra
        (["fleet.shard=1,2"], None),
        (["fleet.shard=1"], None),
        (["seed=0,1"], None),
    ],
)
def test_shards_are_counted_in_the_sweep(tmp_path: Path, monkeypatch, task: list[str], shards: int | None) -> None:
    OmegaConf.save({"hydra": {"overrides": {"task": task}}}, tmp_path / "multirun.yaml")
    job = OmegaConf.create({"mode": "MULTIRUN", "sweep": {"dir": str(tmp_path)}})
    job.mode = RunMode.MULTIRUN
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: job)
    if shards is None:
        with pytest.raises(WeightgenError, match=r"fleet\.shard=1 of how many"):
            part("abcdef", shard=1)
    else:
        assert part("abcdef", shard=1) == list("abcdef")[1::shards]
    job.mode = RunMode.RUN  # a folder that an earlier sweep has left says nothing
    with pytest.raises(WeightgenError, match="of how many"):
        part("abcdef", shard=1)


def test_a_sweep_over_shards_completes_the_zoo(smoke) -> None:
    options = ["budget.lora.steps=2", "fleet.size=2", "strategy.workers=1", "logger=csv"]
    folder = smoke.folder / "sharded"
    sweep = ["-m", "fleet.shard=range(0,4)", "hydra/launcher=joblib", f"hydra.sweep.dir={folder}"]
    smoke("train_loras", *sweep, *options)
    logs = [path.read_text() for path in folder.glob("[0-3]/train_loras.log")]
    assert sorted(int(re.search(r"of (\d+) LoRAs", log).group(1)) for log in logs) == [1, 1, 2, 2]
    pipeline = Pipeline(composed("experiment=smoke", f"paths.artifacts={smoke.folder}/artifacts", *options))
    for concept in pipeline.split("train"):
        assert (pipeline.store.require(pipeline.lora(concept)) / "lora.safetensors").exists()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_shards_merge_into_one_manifest_whatever_the_order_they_end_in(smoke, tmp_path: Path, order) -> None:
    for stage in ("photos", "pairs", "base", "text"):
        shutil.copytree(smoke.folder / "artifacts" / stage, tmp_path / stage)
    pipeline = Pipeline(composed("experiment=smoke", f"paths.artifacts={tmp_path}"))
    whole = Pipeline(composed("experiment=smoke", f"paths.artifacts={smoke.folder}/artifacts"))
    for shard in order:  # as a job of that shard would leave it
        for concept in part(pipeline.split("train"), shard=shard, shards=3):
            spec = pipeline.lora(concept)
            shutil.copytree(whole.store.require(spec), pipeline.store.path(spec))
    merged, expected = pipeline.ensure(pipeline.blocks), whole.store.require(whole.blocks)
    for name in ("zoo.json", "zoo.safetensors", "normalizer.safetensors"):
        assert (merged / name).read_bytes() == (expected / name).read_bytes(), name

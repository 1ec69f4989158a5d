"""Studies: what each sweeps, its table on known numbers, and a run that is killed, resumed, listed and recorded."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from safetensors.numpy import load_file

from experiments.pipeline.build import Pipeline
from experiments.pipeline.methods import all_methods
from experiments.study import main
from experiments.sweeps.studies import known_studies, listing, record
from experiments.sweeps.study_report import gather, state
from tests.helpers.apps import ROOT, Runs
from tests.helpers.configs import CONF, composed
from weightgen.errors import WeightgenError
from weightgen.evaluation.results import read_results, write_results
from weightgen.inits.base import GIBBERISH
from weightgen.translation.lora import LoraSpec

STUDIES = sorted(known_studies())


def variants(name: str) -> dict[str, Pipeline]:
    """Value -> the pipeline of that job."""
    node = OmegaConf.load(CONF / "study" / f"{name}.yaml")
    fixed = OmegaConf.to_container(node.hydra.sweeper.params)
    values = fixed.pop(node.study.axis).split(",")
    common = ["experiment=toy", f"study={name}", *(f"{key}={value}" for key, value in fixed.items())]
    return {value: Pipeline(composed(*common, f"{node.study.axis}={value}")) for value in values}


def keys(p: Pipeline) -> list[str]:
    """Of the finished result and everything that the weight generator needs."""
    results = " ".join(p.finetune(method, p.test_concepts[0], 0).key for method in p.methods)
    return [results, p.denoiser.key, p.blocks.key, p.base_spec.key]


@pytest.mark.parametrize("name", STUDIES)
def test_every_value_is_another_result_beside_zero_and_the_own_lora(name: str) -> None:
    pipelines = variants(name)
    assert len(pipelines) >= 2
    assert len({keys(p)[0] for p in pipelines.values()}) == len(pipelines)
    for p in pipelines.values():
        assert p.cfg.study.name == name
        assert p.cfg.study.question.endswith("?")
        assert {"e2gan", "trained", "mean", "nearest"} < set(p.methods)


@pytest.mark.parametrize("name", sorted(set(STUDIES) - {"lora_rank", "lora_seed"}))
def test_the_recipes_own_value_shares_the_recipes_artifacts(name: str) -> None:
    own = keys(Pipeline(composed("experiment=toy")))[1:]
    assert own in [keys(p)[1:] for p in variants(name).values()]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_sees_validation_concepts_and_photos_alone(name: str) -> None:
    for p in variants(name).values():
        assert {concept.split for concept in p.test_concepts} == {"validation"}
        assert p.finetune("generated", p.test_concepts[0], 0).config["scored"] == "validation"


def test_a_lora_of_its_own_seed_wants_both_factors() -> None:
    shared, own = LoraSpec(), LoraSpec(seeds="own")
    assert shared.starting("a mosaic") is shared
    assert own.starting("a mosaic").seed == own.starting("a mosaic").seed != own.starting("a sketch").seed
    with pytest.raises(WeightgenError, match=r"lora\.train=ab"):
        LoraSpec(train="b", seeds="own")
    with pytest.raises(WeightgenError, match="'other'"):
        LoraSpec(seeds="other")


def test_a_zoo_is_the_first_train_concepts_and_leaves_base_and_loras_alone() -> None:
    whole, part = (Pipeline(composed("experiment=smoke", f"zoo.size={size}")) for size in ("null", 3))
    assert part.blocks.inputs == whole.blocks.inputs[:4]  # the base, and three LoRAs
    assert part.base_spec == whole.base_spec
    for size in (1, 7):
        with pytest.raises(WeightgenError, match="2 to 6"):
            _ = Pipeline(composed("experiment=smoke", f"zoo.size={size}")).blocks


def test_shuffled_prompts_are_nobodys_own_and_no_rival() -> None:
    p = Pipeline(composed("experiment=toy"))
    for seed in range(3):
        peers = p.split("unseen_factor")
        told = [p.other(concept, seed) for concept in peers]
        assert sorted(c.name for c in told) == sorted(c.name for c in peers)
        assert all(a is not b for a, b in zip(told, peers, strict=True))
    assert not {"generated_shuffled", "generated_gibberish"} & set(all_methods())
    concept = p.split("unseen_factor")[0]
    assert p.init("generated_gibberish", concept, 0).config["prompt"] == GIBBERISH
    assert p.init("generated", concept, 0).config["prompt"] == concept.prompt
    alone = Pipeline(composed("experiment=smoke", "concepts.unseen_factor=1"))
    with pytest.raises(WeightgenError, match="one concept"):
        alone.other(alone.split("unseen_factor")[0], 0)


def test_a_shuffled_prompt_gives_the_weights_of_the_concept_it_names(smoke) -> None:
    smoke("generate_init", "init=generated_shuffled", "splits=[unseen_factor]", "strategy.workers=1")
    p = Pipeline(composed("experiment=smoke", f"paths.artifacts={smoke.folder}/artifacts"))
    concept = p.split("unseen_factor")[0]
    named = p.other(concept, 0)
    ours, theirs = (
        load_file(p.store.require(spec) / "lora.safetensors")
        for spec in (p.init("generated_shuffled", concept, 0), p.init("generated", named, 0))
    )
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def result(method: str, concept: str, l1: float) -> dict:
    return {
        "experiment": "toy",
        "base": "all",
        "concept": concept,
        "prompt": concept,
        "split": "unseen_factor",
        "method": method,
        "seed": 0,
        "step": 0,
        "train_seconds": 0.25,
        "fid": 100 * l1,
        "kid": 0.0,
        "l1": l1,
        "feature_set": "efficientnet_lite0",
        "device": "cpu x1",
        "perceptual": math.nan,
    }


def hand_made(folder: Path, **l1: float) -> Path:
    """A study of three values, of which `l1` (of generated; zero .5, mean .4, trained .1) are done."""
    (folder / "runs").mkdir(parents=True)
    plan = {"study": "block_size", "question": "Which?", "recipe": "toy", "axis": "blocks.size"}
    plan |= {"values": [{"value": v, "label": v} for v in ("one", "two", "three")], "finetune": False}
    plan |= {"notes": [], "settings": [], "command": "make study STUDY=block_size EXP=toy"}
    (folder / "plan.json").write_text(json.dumps(plan))
    for label, score in l1.items():
        scores = {"e2gan": 0.5, "mean": 0.4, "generated": score, "trained": 0.1}
        rows = [result(method, c, value) for c in "ab" for method, value in scores.items()]
        write_results(folder / "runs" / f"{label}.csv", rows)
        facts = {"denoised": ["generated"], "denoiser_seconds": 7.0, "blocks": 15}
        done = {"value": label, "label": label, "settings": [], "status": "done", "wall_seconds": 2.0}
        (folder / "runs" / f"{label}.json").write_text(json.dumps(done | {"bases": {"all": facts}}))
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_and_the_reading_of_known_numbers(tmp_path: Path) -> None:
    folder = hand_made(tmp_path, one=0.3, two=0.2)
    absent = {"value": "three", "label": "three", "settings": [], "status": "absent", "reason": "no weights"}
    (folder / "runs" / "three.json").write_text(json.dumps(absent))
    gather(folder)
    table = {(row["value"], row["method"]): row for row in read(folder / "table.csv")}
    assert len(table) == 8
    assert [float(table[v, "generated"]["gap_closed"]) for v in ("one", "two")] == pytest.approx([0.5, 0.75])
    row = table["two", "generated"]
    assert (row["denoiser_seconds"], row["blocks"], row["generation_seconds"]) == ("7.0", "15", "0.25")
    assert table["two", "mean"]["blocks"] == ""
    text = (folder / "README.md").read_text()
    assert "closes 0.75 [0.75, 0.75] of the gap at two, its best, and 0.50 [0.50, 0.50] at one" in text
    assert "paired difference 0.25 [0.25, 0.25]" in text
    assert "mean of training LoRAs, closes 0.25" in text
    assert "`blocks.size=three` could not be had: no weights" in text
    assert "wall time: 4 s" in text
    assert state(folder) == "done, 2 of 3 (three could not be had)"


def test_a_study_that_fine_tunes_says_how_fast_pix2pix_s_quality_is_reached(tmp_path: Path) -> None:
    folder = hand_made(tmp_path / "toy" / "studies" / "block_size", one=0.3, two=0.2)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"finetune": True}))
    ends = {
        "one": {"e2gan": (10.0, 5.0), "generated": (10.0, 2.0)},
        "two": {"e2gan": (11.0, 5.0), "generated": (10.0, 4.0)},
    }
    for label, runs in ends.items():
        path = folder / "runs" / f"{label}.csv"
        rows = [
            *read_results(path),
            *(result(m, c, l1) for c in "ab" for m, l1 in (("pix2pix", 0.6), ("second_draw", 0.01))),
        ]
        for method, (fid, seconds) in {"pix2pix": (10.0, 8.0), **runs}.items():
            late = {"step": 40, "train_seconds": 0.25 + seconds, "fid": fid}
            rows += [result(method, concept, 0.2) | late for concept in "ab"]
        write_results(path, rows)
    gather(folder)
    table = {(row["value"], row["method"]): row for row in read(folder / "table.csv")}
    assert float(table["one", "generated"]["speedup"]) == pytest.approx(8.25 / 2.25)
    assert float(table["two", "generated"]["speedup"]) == pytest.approx(8.25 / 4.25)
    assert (table["two", "e2gan"]["speedup"], table["two", "e2gan"]["censored"]) == ("", "2")
    assert table["two", "second_draw"]["speedup_low"] == ""  # the floor runs no race
    assert (folder / "speedup.png").stat().st_size > 1000
    text = (folder / "README.md").read_text()
    assert "(speedup.png)" in text
    assert "| 3.67 [3.67, 3.67] |" in text
    assert "| never |" in text
    assert "the best of its rivals at two, mean of training LoRAs" in text  # nor is it a rival
    kept = record("block_size", "toy", tmp_path, tmp_path / "results", force=True)
    assert (kept / "speedup.png").read_bytes() == (folder / "speedup.png").read_bytes()
    (folder / "plan.json").write_text(json.dumps(plan))  # without fine-tuning neither has that picture any more
    gather(folder)
    kept = record("block_size", "toy", tmp_path, tmp_path / "results", force=True)
    assert not (kept / "speedup.png").exists()
    assert not (folder / "speedup.png").exists()


def test_rows_of_other_settings_do_not_count(tmp_path: Path) -> None:
    folder = hand_made(tmp_path, one=0.3, two=0.2)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"settings": ["seeds=[0,1]"]}))
    assert state(folder) == "partial, 0 of 3"
    gather(folder)
    assert not (folder / "table.csv").exists()


def test_record_refuses_what_would_be_lost_or_is_not_whole(tmp_path: Path) -> None:
    reports, results = tmp_path / "reports", tmp_path / "results"
    toy = hand_made(reports / "toy" / "studies" / "block_size", one=0.3, two=0.2, three=0.2)
    with pytest.raises(WeightgenError, match="make study STUDY=block_size EXP=toy"):
        record("block_size", "toy", reports, results, force=False)
    gather(toy)
    record("block_size", "toy", reports, results, force=False)
    record("block_size", "toy", reports, results, force=False)  # its own recipe's may be renewed
    smoke = reports / "smoke" / "studies" / "block_size"
    shutil.copytree(toy, smoke)
    plan = json.loads((smoke / "plan.json").read_text())
    (smoke / "plan.json").write_text(json.dumps(plan | {"recipe": "smoke"}))
    gather(smoke)
    with pytest.raises(WeightgenError, match=r"result of toy.*FORCE=1"):
        record("block_size", "smoke", reports, results, force=False)
    assert read(results / "block_size" / "table.csv")[0]["experiment"] == "toy"
    (smoke / "runs" / "two.json").unlink()
    assert "smoke: partial, 2 of 3; toy: done, 3 of 3; recorded: toy" in listing(reports, results)
    with pytest.raises(WeightgenError, match="partial"):
        record("block_size", "smoke", reports, tmp_path / "new", force=False)
    record("block_size", "smoke", reports, results, force=True)
    assert "recorded: smoke" in listing(reports, results)
    with pytest.raises(WeightgenError, match=r"'nosuch'.*grouping"):
        record("nosuch", "toy", reports, results, force=False)


def test_the_listing_asks_every_question(tmp_path: Path) -> None:
    text = listing(tmp_path, tmp_path)
    assert text.count("not run; not recorded") == len(STUDIES)
    for name, question in known_studies().items():
        assert name in text
        assert question in text


KILLER = """
import os, signal, sys
import experiments.training.fit as training
save = training.Checkpoints.on_train_batch_end
seen = []
def hook(self, *args):
    save(self, *args)
    if "/denoiser/" in str(self.path):
        seen.append(self.path)
    if len(set(seen)) == 2 and args[-1] + 1 == 5:
        os.kill(os.getpid(), signal.SIGKILL)
training.Checkpoints.on_train_batch_end = hook
from experiments.study import main
sys.argv[0] = "study"
main()
"""


def test_killed_half_way_it_finishes_the_rest_only(smoke, tmp_path: Path) -> None:
    artifacts, reports = smoke.folder / "artifacts", tmp_path / "reports"
    options = ["study=block_size", "blocks.size=128,512", "strategy.workers=1", f"paths.reports={reports}"]
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    paths = [f"paths.artifacts={artifacts}", f"hydra.sweep.dir={tmp_path}/out", "experiment=smoke"]
    killed = subprocess.run(
        [sys.executable, script, *paths, *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    folder = reports / "smoke" / "studies" / "block_size"
    assert state(folder) == "partial, 1 of 2"
    assert {row["value"] for row in read(folder / "table.csv")} == {"128"}
    finished = [*(folder / "runs").glob("128.*"), *artifacts.glob("*/*/files.json")]
    stamps = {path: path.stat().st_mtime_ns for path in finished}

    smoke("study", *options)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert state(folder) == "done, 2 of 2"
    table = read(folder / "table.csv")
    assert {row["value"] for row in table} == {"128", "512"}
    assert {row["split"] for row in table} == {"validation"}
    blocks = {row["value"]: int(row["blocks"]) for row in table if row["method"] == "generated"}
    assert blocks["512"] < blocks["128"]
    assert (folder / "figure.png").stat().st_size > 1000
    text = (folder / "README.md").read_text()
    assert 'make study STUDY=block_size EXP=smoke ARGS="blocks.size=128,512"' in text
    assert str(tmp_path) not in text


def test_what_cannot_be_had_is_noted_and_nothing_at_all_fails(smoke, tmp_path: Path) -> None:
    options = [
        "study=concepts",
        f"paths.reports={tmp_path}",
        "methods=[e2gan,generated,trained]",
        "splits=[unseen_factor]",
        "strategy.workers=1",
    ]
    smoke("study", *options, "zoo.size=40,null")
    text = (tmp_path / "smoke" / "studies" / "concepts" / "README.md").read_text()
    assert "1 of 2 (40 could not be had)" in text
    assert "`zoo.size=40` could not be had: zoo.size=40: choose 2 to 6" in text
    failed = smoke("study", *options, "zoo.size=40", check=False)
    assert failed.returncode == 1
    assert "no value of zoo.size could be run" in failed.stderr


def test_a_second_sweep_is_refused(tmp_path: Path) -> None:
    failed = Runs(tmp_path)("study", "study=block_size", "denoiser.width=16,32", check=False)
    assert failed.returncode == 1
    assert "give denoiser.width one value" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_without_a_study_the_app_lists_them() -> None:
    with pytest.raises(WeightgenError, match="text_encoder"):
        main.stage(composed("experiment=smoke"))

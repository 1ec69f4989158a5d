"""The stage graph: keys, what reaches what, and that a finished run is never rebuilt."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from experiments.command.app import explain
from experiments.pipeline.build import Pipeline
from experiments.training.payloads import pair_tensors, training_pairs
from tests.helpers.configs import composed
from tests.helpers.keys import keys
from weightgen.artifacts import Spec
from weightgen.errors import MissingArtifact, MissingModel, WeightgenError
from weightgen.evaluation.comparisons import SUMMARY_COLUMNS
from weightgen.evaluation.results import RESULT_COLUMNS
from weightgen.rng import stream

METHODS = {"pix2pix", "e2gan", "mean", "nearest", "generated", "trained"}


def pipeline(*overrides: str) -> Pipeline:
    return Pipeline(composed("experiment=smoke", *overrides))


ALL = {"photos", "pairs", "base", "lora", "blocks", "denoiser", "init", "finetune", "scratch"}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("strategy=gpu strategy.trainer.accelerator=cpu", set()),
        ("strategy=ddp_cpu strategy.accumulate=2 strategy.trainer.precision=bf16-mixed", set()),
        ("strategy=fsdp strategy.trainer.accelerator=cpu strategy.ranks=2", set()),
        ("logger=csv", set()),
        ("strategy.workers=1", set()),
        ("fleet.size=64 fleet.shard=1 fleet.shards=2", set()),
        ("paths.artifacts=elsewhere", set()),
        ("recipe=other", set()),
        ("methods=[mean]", set()),
        ("photos.seed=1", ALL),
        ("+editor.seed=1", ALL - {"photos"}),
        ("text_encoder=open_clip", ALL - {"photos", "pairs"}),
        ("metrics=inception", {"finetune", "scratch"}),
        ("build_seed=1", {"base", "lora", "blocks", "denoiser", "init", "finetune"}),
        ("budget.base.steps=13", {"base", "lora", "blocks", "denoiser", "init", "finetune"}),
        ("lora.train=ab", {"lora", "blocks", "denoiser", "init", "finetune"}),
        ("blocks.size=128", {"blocks", "denoiser", "init", "finetune"}),
        ("budget.denoiser.steps=9", {"denoiser", "init", "finetune"}),
        ("sampler.steps=2", {"init", "finetune"}),
        ("budget.finetune.lora.steps=5", {"finetune"}),
        ("budget.finetune.scratch.steps=7", {"scratch"}),
        ("discriminator.width=16", {"base", "lora", "blocks", "denoiser", "init", "finetune", "scratch"}),
    ],
)
def test_a_key_changes_with_what_determines_it_and_nothing_else(override: str, changed: set[str]) -> None:
    before, after = keys(pipeline()), keys(pipeline(*override.split()))
    assert {name for name in before if before[name] != after[name]} == changed


def upstream(spec: Spec) -> set[Spec]:
    return {spec}.union(*(upstream(below) for below in spec.inputs))


def test_nothing_of_an_unseen_or_validation_concept_reaches_what_is_learned() -> None:
    p = pipeline()
    train = {concept.name for concept in p.split("train")}
    prompts = {text for c in p.concepts if c.split != "train" for text in (c.prompt, *c.paraphrases)}
    assert prompts
    tuned = pipeline("budget.function.steps=1").generator
    assert tuned.stage == "function"
    for learned in (p.base_spec, p.blocks, p.denoiser, tuned, p.guide, p.sibling("base", "all").base_spec):
        for spec in upstream(learned):
            if spec.subject is not None:
                assert spec.subject.name in train, f"{spec.label} reaches {learned.stage}"
            assert not prompts & set(_strings(spec.config)), f"{spec.label} holds a held-out prompt"


@pytest.mark.parametrize("method", ["ridge", "mlp", "nearest_k", "few_steps", "generated_few_steps"])
def test_what_is_tuned_sees_train_concepts_and_validation_concepts_alone(method: str) -> None:
    p = pipeline()
    fitted = p.fitted(method)
    known = {concept.name for concept in p.split("train", "validation")}
    subjects = [s.subject for s in upstream(fitted) - {fitted} if s.subject is not None]
    assert {subject.split for subject in subjects} == {"train", "validation"}
    assert {subject.name for subject in subjects} <= known
    unseen = {t for c in p.split("unseen_combination", "unseen_factor") for t in (c.prompt, *c.paraphrases)}
    assert not unseen & {text for spec in upstream(fitted) for text in _strings(spec.config)}


def test_an_init_sees_its_own_concept_as_text_alone_except_its_own_lora() -> None:
    p = pipeline()
    concept = p.test_concepts[0]
    for method in METHODS - {"pix2pix"}:
        subjects = [s.subject for s in upstream(p.init(method, concept, 0)) if s.stage in ("pairs", "lora")]
        touches_own = any(subject.name == concept.name for subject in subjects)
        assert touches_own == (method == "trained"), method


def test_options_of_a_method_hold_where_it_is_named() -> None:
    given = pipeline("init=few_steps", "init.rates=[0.5]", "evidence.pairs=2").method("few_steps")
    assert (given["rates"], given["pairs"]) == ([0.5], 2)
    assert pipeline("evidence.pairs=2").method("guided")["pairs"] == 2


def test_text_to_weights_has_a_network_of_its_own_beside_the_generator() -> None:
    p = pipeline("budget.function.steps=1")
    own, ours = (p.init(name, p.test_concepts[0], 0).upstream("function") for name in ("text_to_weights", "generated"))
    assert own != ours
    assert own.config | {"prediction": "sample"} == ours.config
    denoisers = [spec.upstream("denoiser") for spec in (own, ours)]
    assert [spec.config["prediction"] for spec in denoisers] == ["direct", "sample"]
    assert denoisers[0].upstream("blocks") == denoisers[1].upstream("blocks")


def test_a_denoiser_that_is_watched_reads_validation_concepts_and_no_other_does() -> None:
    plain, watched = pipeline().denoiser, pipeline("budget.denoiser.validate_every=2").denoiser
    assert "validation" not in plain.config
    assert {spec.subject.split for spec in watched.inputs if spec.stage == "lora"} == {"validation"}
    assert {spec.subject.split for spec in upstream(watched) if spec.subject is not None} == {"train", "validation"}


def test_few_pairs_change_what_is_fine_tuned_and_initialised_from_them_alone() -> None:
    every, few = pipeline(), pipeline("pairs=8")
    concept = every.test_concepts[0]
    changed = {
        method
        for method in [*every.methods, "few_steps"]
        if every.finetune(method, concept, 0).key != few.finetune(method, concept, 0).key
    }
    assert changed == {"pix2pix", "e2gan", "mean", "nearest", "generated", "few_steps"}  # not trained
    all_of_them = pipeline(f"pairs={every.cfg.photos.train}")
    assert all_of_them.finetune("few_steps", concept, 0).key == every.finetune("few_steps", concept, 0).key
    for method, same in (("generated", True), ("few_steps", False), ("guided", False)):
        assert (every.init(method, concept, 0).key == few.init(method, concept, 0).key) == same
    with pytest.raises(WeightgenError, match="pairs=0"):
        pipeline("pairs=0").finetune("e2gan", concept, 0)


def test_the_pairs_of_a_new_concept_are_drawn_by_the_seed_each_once(smoke) -> None:
    p = pipeline("pairs=5", f"paths.artifacts={smoke.folder}/artifacts", f"paths.reports={smoke.folder}/reports")
    concept = p.test_concepts[0]
    given = p.artifact(p.pairs(concept)), p.artifact(p.photos)
    photos, targets = pair_tensors(*given)
    draws = {seed: training_pairs(*given, None, seed, 5) for seed in (0, 1)}
    for source, target in draws.values():
        rows = [int((photos["train"] == image).flatten(1).all(1).nonzero()[0]) for image in source]
        assert len(set(rows)) == 5
        assert torch.equal(target, targets["train"][rows])  # still pairs
    assert not torch.equal(draws[0][0], draws[1][0])
    among = torch.tensor([1, 4, 7])  # where the photos are a subset, pairs are drawn among those
    source, _ = training_pairs(*given, among, 0, 2)
    assert all(bool((photos["train"][among] == image).flatten(1).all(1).any()) for image in source)
    with pytest.raises(WeightgenError, match=r"pairs=10000.*photos\.train"):
        training_pairs(*given, None, 0, 10_000)


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def test_recorded_inputs_of_what_was_built_are_train_concepts(smoke) -> None:
    held_out = {c.name for c in pipeline().concepts if c.split != "train"}
    for stage in ("base", "blocks"):
        for path in (smoke.folder / "artifacts" / stage).glob("*/inputs.json"):
            labels = [row["label"] for row in json.loads(path.read_text())]
            assert labels
            assert not [name for label in labels for name in held_out if label.endswith(f" {name}")]


def test_missing_upstream_names_its_make_target(tmp_path: Path) -> None:
    p = pipeline("build_missing=false", f"paths.artifacts={tmp_path}")
    with pytest.raises(MissingArtifact, match="make blocks"):
        p.ensure(p.denoiser)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("text_encoder=open_clip", r"ViT-B-32 \(laion2b.*text_encoder\.pretrained=.*text_encoder=minilm"),
        ("metrics=inception metrics.weights=/none.pth", r"/none\.pth.*metrics=efficientnet|torch-fidelity"),
    ],
)
def test_a_model_that_cannot_be_had_is_named_before_any_work(tmp_path: Path, override: str, said: str) -> None:
    p = pipeline(f"paths.artifacts={tmp_path}", *override.split())
    with pytest.raises((MissingModel, InstantiationException)) as error:  # Hydra wraps what a class raises
        p.ensure_all([p.base_spec])
    assert re.search(said, explain(error.value))
    assert not list(tmp_path.iterdir())


def test_unknown_method_and_empty_split_are_named() -> None:
    with pytest.raises(WeightgenError, match=r"'nosuch'.*generated"):
        pipeline().init("nosuch", pipeline().test_concepts[0], 0)
    with pytest.raises(WeightgenError, match="unseen_factor"):
        _ = pipeline("concepts.unseen_factor=0").test_concepts


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_smoke_run_leaves_every_report(smoke) -> None:
    folder = smoke.folder / "reports" / "smoke"
    results, summary = read(folder / "results.csv"), read(folder / "summary.csv")
    assert tuple(results[0]) == RESULT_COLUMNS
    assert tuple(summary[0]) == SUMMARY_COLUMNS
    assert {row["method"] for row in summary} == METHODS
    assert {row["split"] for row in summary} == {"unseen_combination", "unseen_factor"}
    for split in ("unseen_combination", "unseen_factor"):
        closed = {row["method"]: row["gap_closed"] for row in summary if row["split"] == split}
        assert float(closed["e2gan"]) == 0
        assert float(closed["trained"]) == 1
    for name in ("curves.png", "grid.png", "report.md"):
        assert (folder / name).stat().st_size > 1000


def test_a_second_run_builds_nothing(smoke) -> None:
    before = {p: p.stat().st_mtime_ns for p in (smoke.folder / "artifacts").rglob("*.safetensors")}
    smoke("evaluate")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_three_lines_give_a_translator(smoke) -> None:
    import torch

    from weightgen.generation.generator import WeightGenerator

    generate = WeightGenerator.load(smoke.folder / "reports" / "smoke" / "generator")
    translator = generate("a mosaic of square tiles in sepia tones")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    out = translator(images)
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    assert torch.equal(out, generate("a mosaic of square tiles in sepia tones")(images))
    assert translator(images.float() / 255).dtype == torch.float32


def test_the_exported_generator_gives_the_evaluated_weights(smoke) -> None:
    import torch
    from safetensors.torch import load_file

    from weightgen.generation.generator import WeightGenerator

    p = pipeline(f"paths.artifacts={smoke.folder}/artifacts")
    concept = p.test_concepts[0]
    stored = load_file(p.store.require(p.init("generated", concept, 0)) / "lora.safetensors")
    generate = WeightGenerator.load(smoke.folder / "reports" / "smoke" / "generator")
    blocks = generate.blocks(generate.encoder.encode([concept.prompt]), stream(0, "init/noise"))[0]
    fresh = generate.blocks.layout.from_blocks(blocks)
    assert all(torch.allclose(stored[name], fresh[name], atol=1e-6) for name in stored)

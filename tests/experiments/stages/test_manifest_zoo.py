"""zoo=manifest: a weight generator from LoRAs that exist, with their photos or without."""

import json
from types import SimpleNamespace

import pytest
import torch

from experiments.pipeline.build import Pipeline
from experiments.pipeline.graph import StageGraph
from experiments.training.payloads import load_base, load_blocks
from tests.helpers.apps import Runs, nothing_half_written, one_line_error
from tests.helpers.configs import composed
from tests.helpers.tiny_generator import tiny_generator
from weightgen.errors import WeightgenError
from weightgen.generation.export import to_peft
from weightgen.generation.generator import WeightGenerator
from weightgen.translation.lora import lora_state

PROMPTS = ("pencil sketch in sepia tones", "oil painting in ocean colours", "halftone print in blue and yellow")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Three LoRAs of a tiny generator as adapter folders, that generator, their list, and the options that fit them."""
    folder, generator = tmp_path_factory.mktemp("manifest"), tiny_generator()
    generator.save(folder / "base")
    states, rows = [], []
    for number, prompt in enumerate(PROMPTS):
        translator = generator(prompt)
        to_peft(translator, folder / f"lora{number}")
        states.append(lora_state(translator.model))
        rows.append({"adapter": f"lora{number}", "prompt": prompt, "base": "base"})
    (folder / "zoo.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["zoo=manifest", f"zoo.file={folder}/zoo.jsonl", "photos.size=16", "lora.seed=1", "lora.alpha=2.0"]
    options += ["~lora.ranks", "+lora.ranks={down:2,up:1,out:1}", "lora.train=b"]
    return SimpleNamespace(folder=folder, generator=generator, states=states, options=options, rows=rows)


def configured(given, tmp_path, *more):
    fixed = ["experiment=smoke", "logger=csv", "strategy.workers=1", f"paths.artifacts={tmp_path}/artifacts"]
    return composed(*fixed, *given.options, *more)


def test_blocks_hold_the_given_weights_and_the_base_is_the_given_one(given, tmp_path):
    pipeline = Pipeline(configured(given, tmp_path, "budget.function.steps=0"))
    pipeline.ensure(pipeline.blocks)
    zoo, layout, _ = load_blocks(pipeline.store.require(pipeline.blocks))
    assert [entry.prompt for entry in zoo.entries] == list(PROMPTS)
    for blocks, state in zip(zoo.blocks, given.states, strict=True):
        back = layout.from_blocks(blocks)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], weight) for name, weight in state.items())
    base = load_base(pipeline.artifact(pipeline.base_spec))
    ours, theirs = base.state_dict(), given.generator.base.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    assert not any(spec.stage in ("photos", "pairs") for spec in upstream(pipeline.generator))  # no photo is needed


def upstream(spec):
    return [spec, *(found for source in spec.inputs for found in upstream(source))]


def test_changed_weights_are_another_artifact(given, tmp_path):
    before = StageGraph(configured(given, tmp_path)).blocks
    assert StageGraph(configured(given, tmp_path)).blocks.key == before.key
    moved = tmp_path / "moved"
    given.folder.rename(moved)
    try:
        options = [option.replace(str(given.folder), str(moved)) for option in given.options]
        there = SimpleNamespace(options=options)
        assert StageGraph(configured(there, tmp_path)).blocks.key == before.key  # where it lies is not what it is
    finally:
        moved.rename(given.folder)
    (given.folder / "base" / "README.md").write_text("another card")
    assert StageGraph(configured(given, tmp_path)).blocks.key == before.key
    file = given.folder / "lora2" / "adapter_config.json"
    text = file.read_text()
    file.write_text(text.replace('"lora_alpha": 1', '"lora_alpha": 2'))
    assert StageGraph(configured(given, tmp_path)).blocks.key != before.key
    file.write_text(text)


def test_make_denoiser_leaves_a_generator_and_make_evaluate_compares_it(given, tmp_path):
    smoke = Runs(tmp_path)
    smoke("train_denoiser", *given.options, "logger=csv", "budget.function.steps=0")
    folder = tmp_path / "reports" / "smoke" / "generator"
    generator = WeightGenerator.load(folder)
    assert generator.known.prompts == list(PROMPTS)
    assert generator.base_hash == given.generator.base_hash
    assert "Nobody has measured how good it is" in generator.card
    assert generator(PROMPTS[0])(torch.zeros(1, 3, 20, 30, dtype=torch.uint8)).shape == (1, 3, 20, 30)

    compared = ["methods=[nearest,generated,trained]", "zoo.pairs=true", "splits=[unseen_combination]"]
    smoke("evaluate", *given.options, "logger=csv", *compared)  # with pairs: trained on through the base
    assert "Nobody" not in WeightGenerator.load(folder).card
    assert (tmp_path / "artifacts" / "function").exists()
    smoke("train_denoiser", *given.options, "logger=csv", "zoo.pairs=true")
    assert "Nobody" not in WeightGenerator.load(folder).card  # the figures of a comparison stay


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "zoo.pairs=true"),
        (["zoo.size=9"], "zoo.size=9: choose 2 to 3"),
        (["base=all"], "bring their base"),
        (["budget.finetune.discriminator=base"], "brings no discriminator"),
        (["lora.ranks.down=3", "budget.function.steps=0"], "set lora.ranks={down:2,up:1,out:1}"),
        (["lora.seed=5", "budget.function.steps=0"], "use lora.train=ab"),
        (["zoo.file=/nowhere.jsonl"], "zoo.file: /nowhere.jsonl cannot be read"),
    ],
)
def test_one_line_says_what_does_not_fit(given, tmp_path, more, told):
    result = Runs(tmp_path)("train_denoiser", *given.options, "logger=csv", "strategy.workers=1", *more, check=False)
    one_line_error(result, told)
    assert not (tmp_path / "reports" / "smoke" / "generator").exists()
    if "lora" not in " ".join(more):
        nothing_half_written(tmp_path)


def test_a_lora_of_another_base_and_an_unseen_prompt_in_the_zoo_are_refused(given, tmp_path):
    other = tiny_generator()
    torch.nn.init.constant_(other.base.head.weight, 0.5)
    other.save(tmp_path / "other")
    rows = [
        row | {"adapter": str(given.folder / row["adapter"]), "base": str(tmp_path / "other")} for row in given.rows
    ]
    file = tmp_path / "zoo.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    pipeline = Pipeline(configured(given, tmp_path, f"zoo.file={file}"))
    with pytest.raises(WeightgenError, match="another base"):
        pipeline.ensure(pipeline.blocks)

    unseen = StageGraph(composed("experiment=smoke")).split("unseen_combination")[0].prompt
    rows[0]["prompt"], rows[0]["base"], rows[1]["base"], rows[2]["base"] = unseen, *[str(given.folder / "base")] * 3
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(WeightgenError, match=r"is in zoo\.file and, unseen, among concepts"):
        _ = Pipeline(configured(given, tmp_path, f"zoo.file={file}")).concepts

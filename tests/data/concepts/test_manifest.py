"""A list of LoRAs that exist: what it must say, and one line for whatever it gets wrong."""

import json

import pytest

from weightgen.data.concepts.manifest import WEIGHTS, read_manifest
from weightgen.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in WEIGHTS:
            (tmp_path / name / file).write_text("{}")
    (tmp_path / "base").mkdir()
    for file in ("generator.json", "base.safetensors"):
        (tmp_path / "base" / file).write_text("{}")
    (tmp_path / "other").mkdir()
    return tmp_path


def row(adapter="a", prompt="a pencil sketch in sepia tones", base="base"):
    return {"adapter": adapter, "prompt": prompt, "base": base}


def listed(folder, *rows):
    file = folder / "zoo.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in rows))
    return file


def test_prompts_are_train_concepts_and_folders_lie_beside_the_file(folder):
    manifest = read_manifest(listed(folder, row(), "", row("b", "冬の夜", str(folder / "base"))))
    assert [(c.prompt, c.split) for c in manifest.concepts] == [
        ("a pencil sketch in sepia tones", "train"),
        ("冬の夜", "train"),
    ]
    assert manifest.folders == {"a pencil sketch in sepia tones": folder / "a", "冬の夜": folder / "b"}
    assert manifest.base == folder / "base"
    assert manifest.weights == folder / "base" / "base.safetensors"
    assert manifest.concepts[0].factors  # what the procedural editor can draw
    assert not manifest.concepts[1].factors


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row()], "holds 1 LoRAs; 2 are needed"),
        ([row(base="other"), row("b", "x", "other")], "the folder of no weight generator"),
        ([row(), row("b")], "the prompt .* is given twice"),
        ([row(), row("b", "x", "other")], "lines 1 and 2 name two bases"),
        ([row(), row("c", "x")], "line 2: adapter .* is no folder"),
        ([row(), row("base", "x")], "line 2: .* holds no adapter_model.safetensors"),
        ([row(), row("b", " ")], "the prompt is blank"),
        ([row(), {"adapter": "b", "prompt": "x"}], "line 2: give adapter, prompt and base, got adapter, prompt"),
        ([row(), row() | {"seed": 1}], "line 2: give adapter, prompt and base"),
        ([row(), row(7, "x")], "line 2: adapter is no folder's name"),
        ([row(), "{"], "line 2: no JSON"),
        ([row(), "[1]"], "line 2: want a string or an object"),
        ([], "holds 0 LoRAs"),
    ],
)
def test_one_line_for_each_fault(folder, rows, told):
    with pytest.raises(DataError, match=told):
        read_manifest(listed(folder, *rows))


def test_no_file_and_no_text(folder):
    with pytest.raises(DataError, match=r"zoo\.file: .*zoo\.jsonl cannot be read"):
        read_manifest(folder / "zoo.jsonl")
    (folder / "zoo.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_manifest(folder / "zoo.jsonl")

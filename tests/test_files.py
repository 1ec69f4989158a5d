"""Content hashes, and files that are replaced whole or not at all."""

import csv
import hashlib
import json
import os
import stat
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from weightgen import files
from weightgen.errors import WeightgenError
from weightgen.files import FileMemory, content_hash, unescaped, write_rows


def two_copies(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        (folder / "net").mkdir(parents=True)
        (folder / "net" / "w.bin").write_bytes(b"weights")
        (folder / "note.txt").write_bytes(b"about")
    return a, b


def test_a_file_is_its_bytes_and_a_folder_its_files_with_their_names(tmp_path):
    a, b = two_copies(tmp_path)
    (b / ".cache").mkdir()
    (b / ".cache" / "lock").touch()
    assert content_hash(a / "net" / "w.bin") == hashlib.sha256(b"weights").hexdigest()
    assert content_hash(a) == content_hash(b)
    (b / "net" / "w.bin").rename(b / "net" / "v.bin")
    assert content_hash(a) != content_hash(b)
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "nowhere")
    before = content_hash(a)
    (a / "net" / "w.bin").write_bytes(b"other weights")
    assert content_hash(a) != before


def test_only_the_files_named_count(tmp_path):
    a, b = two_copies(tmp_path)
    (b / "note.txt").write_bytes(b"something else")
    assert content_hash(a) != content_hash(b)
    assert content_hash(a, [a / "net" / "w.bin"]) == content_hash(b, [b / "net" / "w.bin"])
    rows = "net/w.bin " + hashlib.sha256(b"weights").hexdigest()
    assert content_hash(a, [a / "net" / "w.bin"]) == hashlib.sha256(rows.encode()).hexdigest()


def test_text_counts_as_its_utf8_bytes():
    assert files.sha256("é") == files.sha256(b"\xc3\xa9") == hashlib.sha256("é".encode()).hexdigest()
    assert len(files.sha256("\udcff")) == 64  # of a file name that is no UTF-8


def test_memory_asks_again_only_about_a_file_that_changed(tmp_path):
    photo, asked = tmp_path / "a.png", []

    def find(path):
        asked.append(path.name)
        return path.read_text()

    photo.write_text("one")
    memory = FileMemory(tmp_path / "m" / "memory.json")
    assert (memory.about(photo, find), memory.about(photo, find), asked) == ("one", "one", ["a.png"])
    memory.save()
    assert FileMemory(memory.path).about(photo, find) == "one"
    assert len(asked) == 1
    photo.write_text("three")
    assert FileMemory(memory.path).about(photo, find) == "three"
    assert len(asked) == 2


def test_a_damaged_memory_is_begun_anew(tmp_path):
    (tmp_path / "memory.json").write_bytes(b"{\xff")
    (tmp_path / "a").write_text("x")
    assert FileMemory(tmp_path / "memory.json").about(tmp_path / "a", lambda path: 1) == 1


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")

    def write_half():
        with files.replacing(tmp_path / "a.txt") as aside:
            aside.write_text("half")
            assert (aside.parent, aside.name[0], str(os.getpid()) in aside.name) == (tmp_path, ".", True)
            assert (tmp_path / "a.txt").read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    for name in ("one", "two"):
        with files.replacing_folder(tmp_path / "deep" / "f") as aside:
            (aside / name).touch()

    def write_half():
        with files.replacing_folder(tmp_path / "deep" / "f") as aside:
            (aside / "three").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["deep", "deep/f", "deep/f/two"]


def test_each_kind_is_read_back(tmp_path):
    files.write_json(tmp_path / "new" / "a.json", {"é": [1, None]})
    assert files.read_json(tmp_path / "new" / "a.json") == {"é": [1, None]}
    files.write_rows(tmp_path / "a.csv", ["x", "y"], [[1, "a,b"], [None, 0.1]])
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n1,"a,b"\n,0.1\n'
    weight = torch.arange(6.0).reshape(2, 3).T.requires_grad_()
    files.save_tensors(tmp_path / "a.safetensors", {"w": weight}, {"seconds": "2"})
    assert torch.equal(load_file(tmp_path / "a.safetensors")["w"], weight)
    with safe_open(tmp_path / "a.safetensors", "pt") as held:
        assert held.metadata() == {"seconds": "2"}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write_json(tmp_path / "a.json", {})
        files.write_rows(tmp_path / "a.csv", ["x"], [])
        files.save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)})
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {mode}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damaged_json_is_one_line_with_file_and_remedy(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(WeightgenError, match=r"a\.json is damaged \(.*\): delete it") as caught:
        files.read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_json_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(WeightgenError, match=r"a\.json cannot be read \(No such file or directory\): run make base"):
        files.read_json(tmp_path / "a.json", remedy="run make base")


def test_asking_for_hashes_and_json_needs_no_torch():
    code = "import sys, weightgen.files; print([m for m in ('torch', 'safetensors') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == []


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1+2", "-name", "@SUM(A1)", "\tx", "plain", "'quoted", "", "-0.5", "=", "'=x"]
)
def test_no_cell_is_a_formula_and_every_text_comes_back(tmp_path, text):
    write_rows(tmp_path / "t.csv", ["a"], [[text]])
    (cell,) = list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))[1] or [""]
    if text.startswith(("=", "+", "@")) or text == "-name":
        assert cell == "'" + text
    assert unescaped(cell) == text

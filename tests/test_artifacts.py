"""Keys say what an artifact is; a folder is whole or absent, whatever was killed and whoever raced."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from weightgen.artifacts import FILES, Spec, Store
from weightgen.errors import MissingArtifact, WeightgenError
from weightgen.files import sha256, write_json

UPSTREAM = Spec("pairs", 1, {"prompt": "a mosaic"}, target="pairs")
SPEC = Spec("base", 2, {"seed": 0, "width": 16}, (UPSTREAM,), target="base", label="base of 6 concepts")


def write_payload(folder: Path) -> dict[str, float]:
    (folder / "payload.bin").write_bytes(b"0123456789")
    return {"l1": 0.5}


def never(folder: Path) -> None:
    raise AssertionError("built again")


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, stage="lora"),
        replace(SPEC, version=3),
        replace(SPEC, config={"seed": 1, "width": 16}),
        replace(SPEC, config={"seed": 0}),
        replace(SPEC, inputs=()),
        replace(SPEC, inputs=(replace(UPSTREAM, version=2),)),
        replace(SPEC, inputs=(UPSTREAM, UPSTREAM)),
    ],
)
def test_whatever_determines_the_artifact_is_in_its_key(other):
    assert other.key != SPEC.key
    assert other != SPEC


@pytest.mark.parametrize(
    "same",
    [
        replace(SPEC, label="another label"),
        replace(SPEC, target="loras"),
        replace(SPEC, subject=object()),
        replace(SPEC, config={"width": 16, "seed": 0}),
        replace(SPEC, inputs=(replace(UPSTREAM, label="pairs of a mosaic"),)),
    ],
)
def test_names_order_and_subject_are_not_in_the_key(same):
    assert same.key == SPEC.key
    assert same == SPEC
    assert len({same, SPEC}) == 1


def test_key_is_the_sha256_of_stage_version_config_and_upstream_keys():
    """Computed apart with sha256sum, so that a change of the scheme cannot go unseen."""
    spec = Spec("s", 1, {"b": 1, "a": [True, None, "é"]})
    # printf '%s' '["s", 1, {"a": [true, null, "\u00e9"], "b": 1}, []]' | sha256sum | cut -c -20
    assert spec.key == "45d0a09d87860e453c66"


def test_config_that_json_cannot_say_exactly_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        _ = Spec("base", 1, {"rate": float("nan")}).key


def test_ensure_builds_once_and_describes_what_it_built(tmp_path):
    store = Store(tmp_path)
    assert not store.has(SPEC)
    path = store.ensure(SPEC, write_payload)
    assert path == tmp_path / "base" / SPEC.key
    assert store.ensure(replace(SPEC, label="same content"), never) == path
    assert store.require(SPEC) == path
    assert store.metrics(SPEC) == {"l1": 0.5}
    assert json.loads((path / "spec.json").read_text()) == SPEC.describe()
    assert json.loads((path / "inputs.json").read_text()) == [{"stage": "pairs", "key": UPSTREAM.key, "label": ""}]
    known = json.loads((path / FILES).read_text())["payload.bin"]
    assert known == {"bytes": 10, "sha256": sha256((path / "payload.bin").read_bytes())}
    assert set(json.loads((path / FILES).read_text())) == {f.name for f in path.iterdir()} - {FILES}


def test_a_build_may_say_itself_which_inputs_it_chose(tmp_path):
    def build(folder):
        write_json(folder / "inputs.json", ["only this one"])

    path = Store(tmp_path).ensure(SPEC, build)
    assert json.loads((path / "inputs.json").read_text()) == ["only this one"]
    assert Store(tmp_path).metrics(SPEC) == {}


def test_a_missing_artifact_names_itself_and_the_make_target(tmp_path):
    with pytest.raises(MissingArtifact) as error:
        Store(tmp_path).require(SPEC)
    for words in ("base", SPEC.key, "base of 6 concepts", "`make base`"):
        assert words in str(error.value)
    with pytest.raises(MissingArtifact, match="build it first"):
        Store(tmp_path).require(replace(SPEC, target="", label=""))


def one_bit(file):
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["payload.bin", "spec.json", "inputs.json", "metrics.json"])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), r"is damaged \(\d+ of \d+ bytes"),
        (lambda f: f.write_bytes(b""), r"is damaged \(0 of \d+ bytes"),
        (lambda f: f.write_bytes(bytes(f.stat().st_size)), r"is damaged \(its content has changed"),
        (one_bit, r"is damaged \(its content has changed"),
        (Path.unlink, r"is damaged \(it is missing"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_named_with_the_remedy(tmp_path, name, damage, found):
    path = Store(tmp_path).ensure(SPEC, write_payload)
    damage(path / name)
    for use in ("require", "metrics", "ensure"):  # each as the first of a process
        store = Store(tmp_path)
        with pytest.raises(WeightgenError, match=rf"{name} {found}.*delete the folder .* same command again") as error:
            getattr(store, use)(*([SPEC, never] if use == "ensure" else [SPEC]))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"0", bytes(100), b"[" * 100_000, b'{"payload.bin": 10}', b'{"metrics.json": 10}'],
)
def test_a_damaged_list_of_files_is_named(tmp_path, content):
    path = Store(tmp_path).ensure(SPEC, write_payload)
    (path / FILES).write_bytes(content)
    with pytest.raises(WeightgenError, match=r"is damaged .*delete the folder"):
        Store(tmp_path).require(SPEC)


def test_files_are_read_for_damage_once_a_process(tmp_path, monkeypatch):
    Store(tmp_path).ensure(SPEC, write_payload)
    read = []
    monkeypatch.setattr(
        "weightgen.artifacts.file_hash", lambda file: read.append(file.name) or sha256(file.read_bytes())
    )
    store = Store(tmp_path)
    for _ in range(3):
        store.require(SPEC)
    assert sorted(read) == ["inputs.json", "metrics.json", "payload.bin", "spec.json"]


def test_a_build_that_raises_leaves_nothing_in_place_and_its_checkpoint_for_the_next_try(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / ".checkpoint").mkdir()
        (folder / ".checkpoint" / "last.ckpt").write_text("step 7")
        raise RuntimeError("out of memory")

    def resumes(folder):
        assert (folder / ".checkpoint" / "last.ckpt").read_text() == "step 7"
        return write_payload(folder)

    with pytest.raises(RuntimeError, match="out of memory"):
        store.ensure(SPEC, fails)
    assert not store.has(SPEC)
    assert not store.path(SPEC).exists()
    assert (store.ensure(SPEC, resumes) / "payload.bin").exists()


def test_hidden_files_and_folders_are_dropped_and_nested_payload_kept(tmp_path):
    def build(folder):
        (folder / ".checkpoint").mkdir()
        (folder / ".checkpoint" / "last.ckpt").write_text("private")
        (folder / ".lock").write_text("private")
        (folder / "log").mkdir()
        (folder / "log" / "metrics.csv").write_text("step\n")

    path = Store(tmp_path).ensure(SPEC, build)
    assert not list(path.glob(".*"))
    assert json.loads((path / FILES).read_text())["log/metrics.csv"]["bytes"] == 5


def test_killed_between_the_last_write_and_the_rename_it_is_finished_not_rebuilt(tmp_path):
    done, store = Store(tmp_path / "a").ensure(SPEC, write_payload), Store(tmp_path / "b")
    partial = store.root / SPEC.stage / ".partial" / SPEC.key
    partial.parent.mkdir(parents=True)
    done.rename(partial)
    path = store.ensure(SPEC, never)
    assert (path / "payload.bin").read_bytes() == b"0123456789"
    assert not partial.exists()


def test_a_folder_without_its_file_list_is_nobodys_work(tmp_path):
    store = Store(tmp_path)
    store.path(SPEC).mkdir(parents=True)
    (store.path(SPEC) / "half.bin").write_text("copied by hand, cut short")
    with pytest.raises(MissingArtifact):
        store.require(SPEC)
    path = store.ensure(SPEC, write_payload)
    assert not (path / "half.bin").exists()


def race(root: str, log: str, start) -> None:
    """Builds slowly and appends a line to `log` whenever it builds (one write of O_APPEND is atomic)."""

    def build(folder: Path) -> None:
        with Path(log).open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        write_payload(folder)

    start.wait()
    Store(root).ensure(SPEC, build)


def killed(root: str) -> None:
    def build(folder: Path) -> None:
        (folder / ".checkpoint").write_text("step 3")
        os.kill(os.getpid(), signal.SIGKILL)

    Store(root).ensure(SPEC, build)


def test_processes_that_race_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    log = tmp_path / "log"
    runners = [context.Process(target=race, args=(str(tmp_path), str(log), barrier)) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(60)
    assert [runner.exitcode for runner in runners] == [0, 0]
    assert len(log.read_text().splitlines()) == 1
    assert not [f for f in (tmp_path / SPEC.stage / ".partial").iterdir() if f.is_dir()]
    assert Store(tmp_path).require(SPEC)


def test_kill_9_releases_the_lock_and_the_next_run_resumes(tmp_path):
    runner = multiprocessing.get_context("spawn").Process(target=killed, args=(str(tmp_path),))
    runner.start()
    runner.join(60)
    assert runner.exitcode == -signal.SIGKILL
    store = Store(tmp_path)
    assert not store.has(SPEC)

    def resumes(folder):
        assert (folder / ".checkpoint").read_text() == "step 3"

    assert not (store.ensure(SPEC, resumes) / ".checkpoint").exists()


def test_a_kill_inside_write_json_leaves_no_payload(tmp_path, monkeypatch):
    store, rename = Store(tmp_path), Path.replace

    def dies(self, target):
        if Path(target).name == FILES:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        store.ensure(SPEC, write_payload)
    monkeypatch.undo()
    path = store.ensure(SPEC, write_payload)
    assert {f.name for f in path.iterdir()} == {"payload.bin", "spec.json", "inputs.json", "metrics.json", FILES}


def test_write_json_replaces_the_whole_file_and_leaves_no_other(tmp_path):
    file = tmp_path / "metrics.json"
    write_json(file, {"long": "x" * 1000})
    write_json(file, {"prompt": "тест"})
    assert json.loads(file.read_text()) == {"prompt": "тест"}
    assert list(tmp_path.iterdir()) == [file]


def test_a_claimed_spec_is_built_by_its_claimant_alone(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path), Store(tmp_path)
    assert ours.claim(SPEC)
    assert ours.claim(SPEC), "ours still"
    assert not theirs.claim(SPEC)
    ours.ensure(SPEC, write_payload)  # a claim is no obstacle to who holds it
    assert not ours.claim(SPEC), "finished"
    assert not theirs.claim(SPEC, wait=True)


def test_a_released_claim_is_free(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path), Store(tmp_path)
    assert ours.claim(SPEC)
    assert ours.claim(UPSTREAM)
    ours.release()
    assert theirs.claim(SPEC)
    theirs.ensure(SPEC, write_payload)
    theirs.ensure(UPSTREAM, write_payload)
    assert ours.metrics(SPEC) == ours.metrics(UPSTREAM) == {"l1": 0.5}


def claim_and_wait(root: str) -> None:
    store = Store(root)
    assert store.claim(SPEC)
    Path(root, "claimed").touch()
    time.sleep(60)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=claim_and_wait, args=(str(tmp_path),))
    other.start()
    while not (tmp_path / "claimed").exists():
        assert other.is_alive()
        time.sleep(0.01)
    store = Store(tmp_path)
    assert not store.claim(SPEC)
    os.kill(other.pid, signal.SIGKILL)
    assert store.claim(SPEC, wait=True)
    other.join()

"""A stage goes on from the last whole checkpoint, in whatever parts its batches now come."""

from pathlib import Path

import pytest
import torch

from experiments.training.checkpoints import replace, resumable
from tests.helpers import ranks as cases


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (4, 2)])
def test_a_run_goes_on_with_another_number_of_parts(tmp_path: Path, before: int, after: int) -> None:
    whole, _ = cases.denoiser(cases.runtime(), tmp_path / "whole")
    with pytest.raises(InterruptedError):
        cases.denoiser(cases.runtime(f"strategy.accumulate={before}"), tmp_path / "cut", stop=4 * before)
    assert resumable(tmp_path / "cut" / ".checkpoint" / "last.ckpt")[1] == 4
    resumed, rates = cases.denoiser(cases.runtime(f"strategy.accumulate={after}"), tmp_path / "cut")
    assert len(rates) == after * (cases.STEPS - 4)  # what was done is not done again
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, atol=1e-4, rtol=0, msg=name)


WEIGHTS = b"the bytes of a tensor, in the middle of a file"


def file(path: Path, steps: int) -> Path:
    torch.save({"batches_done": steps, "weights": torch.frombuffer(bytearray(WEIGHTS), dtype=torch.uint8)}, path)
    return path


def folder(path: Path, steps: int) -> Path:
    path.mkdir(exist_ok=True)
    (path / f"weights{steps}").touch()
    return path


@pytest.mark.parametrize("make", [file, folder])
def test_the_newest_checkpoint_replaces_the_one_before(tmp_path: Path, make) -> None:
    last = tmp_path / "last.ckpt"
    assert resumable(last) is None
    for steps in (4, 8, 12):
        replace(make(tmp_path / "last.tmp", steps), last, steps)
        assert resumable(last) == (last, steps)
        assert not (tmp_path / "last.tmp").exists()
    if make is folder:
        assert {path.name for path in last.iterdir()} == {"weights12", "steps.json"}


def test_killed_while_a_folder_is_replaced_the_one_before_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "last.ckpt"
    replace(folder(tmp_path / "last.tmp", 4), last, 4)
    move = Path.replace

    def killed(path: Path, target: Path) -> None:
        if path.suffix == ".tmp" and path.is_dir():
            raise KeyboardInterrupt
        move(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace(folder(tmp_path / "last.tmp", 8), last, 8)
    assert resumable(last) == (tmp_path / "last.old", 4)
    monkeypatch.undo()
    replace(tmp_path / "last.tmp", last, 8)
    assert resumable(last) == (last, 8)


@pytest.mark.parametrize("content", [b"", b"PK", bytes(500)])
def test_a_damaged_checkpoint_is_named_and_the_stage_starts_anew(tmp_path: Path, caplog, content: bytes) -> None:
    last = file(tmp_path / "last.ckpt", 8)
    last.write_bytes(content or b"")
    with caplog.at_level("WARNING"):
        assert resumable(last) is None
    assert "last.ckpt is damaged" in caplog.text
    assert not last.exists()
    whole = file(tmp_path / "last.ckpt", 8)
    whole.write_bytes(whole.read_bytes()[:-40])  # cut
    assert resumable(whole) is None
    whole = file(tmp_path / "last.ckpt", 8)
    assert resumable(whole) == (whole, 8)
    inside = bytearray(whole.read_bytes())
    inside[inside.index(WEIGHTS)] ^= 1  # one bit of a tensor, which torch reads without a word
    whole.write_bytes(inside)
    assert resumable(whole) is None
    sharded = folder(tmp_path / "last.ckpt", 8)
    (sharded / "steps.json").write_text("{")
    assert resumable(sharded) is None
    assert not sharded.exists()

"""What killed fleets leave behind is found by later ones, and removed when it has served."""

from pathlib import Path

import torch
from filelock import FileLock

from experiments.pipeline.fleet_folders import FleetFolders


def test_a_killed_fleets_folder_stays_while_anything_in_it_is_needed(tmp_path: Path) -> None:
    folders = FleetFolders(tmp_path)

    def fleet(name: str, **steps: int) -> Path:
        checkpoint = tmp_path / ".fleets" / name / ".checkpoint" / "last.ckpt"
        checkpoint.parent.mkdir(parents=True)
        held = [{"name": concept, "step": step} for concept, step in steps.items()]
        torch.save({"state_dict": {"_extra_state": {"held": held}}}, checkpoint)
        (tmp_path / ".fleets" / f"{name}.lock").touch()
        return checkpoint.parents[1]

    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "files.json").write_text("{}")
    own = fleet("own", mine=8, behind=2)
    finished, surpassed = fleet("finished", done=4), fleet("surpassed", mine=4, done=2)
    ahead, other, alive = fleet("ahead", behind=4), fleet("other", elsewhere=1), fleet("alive", done=1)
    assert {(s["name"], s["step"]) for s in folders.saved(["mine", "behind"])} == {("mine", 8), ("behind", 4)}
    with FileLock(alive.with_suffix(".lock")):
        folders.sweep(own)
    assert [f.exists() for f in (finished, surpassed, ahead, other, alive, own)] == [False] * 2 + [True] * 4

"""What a person sees when something goes wrong."""

import errno

import pytest
from omegaconf import MissingMandatoryValue, OmegaConf
from safetensors import SafetensorError

from experiments.command.app import explain
from weightgen.errors import DataError


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "artifacts/x"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_explained_with_its_remedy(error: Exception) -> None:
    message = explain(error)
    assert "disk is full" in message
    assert "paths.artifacts=" in message
    assert ".tmp" not in message


def test_a_full_disk_is_named_and_not_the_file_that_found_it_full(tmp_path) -> None:
    said = explain(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".partial" / ".x.tmp")))
    mount = next(above for above in tmp_path.parents if above.is_mount())
    assert said.startswith(f"the disk is full at {mount}: free space")


def test_an_expected_error_is_found_beneath_its_wrappers() -> None:
    wrapped = RuntimeError("Error in call to target")
    wrapped.__cause__ = DataError("photo x.jpg is broken: remove it")
    assert explain(wrapped) == "photo x.jpg is broken: remove it"


def test_a_bug_is_not_explained_away() -> None:
    assert explain(KeyError("tokens")) is None
    assert explain(OSError(errno.EACCES, "Permission denied")) is None


def test_an_option_without_a_value_is_named() -> None:
    cfg = OmegaConf.create({"photos": {"root": "???"}})
    with pytest.raises(MissingMandatoryValue) as missing:
        _ = cfg.photos.root
    assert explain(missing.value) == "photos.root has no value: add photos.root=<value>"


def test_a_killed_worker_and_a_closed_folder_are_one_line() -> None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    said = explain(
        TerminatedWorkerError("A worker process managed by the executor was unexpectedly terminated.\n\nexit codes")
    )
    assert "the same command goes on" in said
    assert "strategy.workers=1" in said
    closed = explain(PermissionError(13, "Permission denied", "/data/artifacts/base"))
    assert closed.startswith("/data/artifacts/base may not be written")
    assert explain(ValueError("a bug")) is None

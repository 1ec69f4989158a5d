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

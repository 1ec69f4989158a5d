"""Errors a person can act on: every message names the thing and the remedy."""


class WeightgenError(Exception):
    """Base of all expected failures; the apps print its message on one line and exit 1."""


class DataError(WeightgenError):
    """A photo, prompt or concept that cannot be used as it is."""


class NotFinite(WeightgenError):
    """Training or translating ended in values that are no numbers; the message says what to lower."""


class MissingArtifact(WeightgenError):
    """An upstream artifact is absent; the message names the make target that builds it."""


class MissingModel(WeightgenError):
    """A pretrained model cannot be had here; the message names the local-path and offline options."""


class MissingPackage(WeightgenError):
    """An optional package is not installed; the message names the extra that has it."""

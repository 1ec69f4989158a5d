"""Packages that only a few need: optional extras of weightgen, imported when they are used."""

from importlib import import_module
from types import ModuleType

from weightgen.errors import MissingPackage


def optional(package: str, extra: str, use: str) -> ModuleType:
    """The module `package`. MissingPackage: it is not installed; the message says what for, and which extra has it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingPackage(
            f"{use} needs the package {package.replace('_', '-')}, which is not installed here ({error}): run "
            f"pip install 'weightgen[{extra}]', or make setup, which has all extras"
        ) from error

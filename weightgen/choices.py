"""Closed tables of short names: what a configuration, a key or a saved file may name, and the class behind it."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from weightgen.errors import WeightgenError


@dataclass(frozen=True)
class Choices:
    """The classes that may fill one slot. `classes`: short name -> "module:Class", imported only when it is asked for."""

    slot: str
    classes: Mapping[str, str]

    def find(self, name: object) -> type:
        """The class called `name`. Raises WeightgenError for any name that is not in the table."""
        if not isinstance(name, str) or name not in self.classes:
            raise WeightgenError(f"{self.slot}={name}: choose {', '.join(sorted(self.classes))}")
        module, _, attribute = self.classes[name].partition(":")
        return getattr(import_module(module), attribute)


def make(table: Choices, options: Mapping[str, Any], **more: Any) -> Any:
    """An object of `table` from {"name": short name, **arguments}; `more` are arguments that no configuration holds.

    Raises WeightgenError for an unknown name, and for arguments that its class does not take or lacks.
    """
    name = options.get("name")
    chosen = table.find(name)
    arguments = {key: value for key, value in options.items() if key != "name"} | more
    if unknown := sorted(set(arguments) - parameters(chosen)):
        raise WeightgenError(f"{table.slot}={name} has no option {', '.join(unknown)}")
    try:
        inspect.signature(chosen).bind(**arguments)
    except TypeError as error:
        raise WeightgenError(f"{table.slot}={name}: {error}") from None
    return chosen(**arguments)


def parameters(chosen: type) -> set[str]:
    """Names of all arguments that a class takes, those included that it hands on to its parents by **options."""
    found: set[str] = set()
    for owner in chosen.__mro__:
        if "__init__" in vars(owner):
            parameters = inspect.signature(owner.__init__).parameters.values()
            found |= {p.name for p in parameters}
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return found

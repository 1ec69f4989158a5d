"""Kinds of values that an option can take. A rule says what it takes in the words of the error message."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Rule:
    """takes: what the option takes, in words. fits: whether a plain value (of YAML's types) is that."""

    takes: str
    fits: Callable[[Any], bool]


def whole(low: int = 0, high: int | None = None, multiple: int = 1) -> Rule:
    """A whole number from `low` to `high`, both included."""
    span = f"from {low}" if high is None else f"from {low} to {high}"
    takes = f"a whole number {span}" + (f", a multiple of {multiple}" if multiple > 1 else "")

    def fits(value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return low <= value <= (math.inf if high is None else high) and value % multiple == 0

    return Rule(takes, fits)


def number(low: float | None = None, high: float | None = None, above: float | None = None, below: float | None = None):
    """A finite number: from `low` to `high`, both included; larger than `above`; smaller than `below`."""
    parts = [f"from {low:g}"] if low is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"to {high:g}"] if high is not None else []
    parts += [f"below {below:g}"] if below is not None else []

    def fits(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return False
        within = (low is None or value >= low) and (high is None or value <= high)
        return within and (above is None or value > above) and (below is None or value < below)

    return Rule(" ".join(["a finite number", *parts]), fits)


def choice(*values: Any) -> Rule:
    """One of some values."""
    *most, last = map(str, values)
    takes = f"{', '.join(most)} or {last}" if most else last
    return Rule(takes, lambda value: any(value == v and type(value) is type(v) for v in values))


def optional(rule: Rule) -> Rule:
    return Rule(f"{rule.takes}, or null", lambda value: value is None or rule.fits(value))


def either(*rules: Rule) -> Rule:
    return Rule(", or ".join(rule.takes for rule in rules), lambda value: any(rule.fits(value) for rule in rules))


def several(rule: Rule, least: int = 1) -> Rule:
    """A list of at least `least` different values."""
    takes = f"a list [...] of {least} or more different values, each {rule.takes}"

    def fits(value: Any) -> bool:
        if not isinstance(value, list) or len(value) < least:
            return False
        return all(map(rule.fits, value)) and len({repr(v) for v in value}) == len(value)

    return Rule(takes, fits)


def mapping(rule: Rule, *keys: str) -> Rule:
    """Some of the names `keys`, each to a value."""

    def fits(value: Any) -> bool:
        return isinstance(value, dict) and set(value) <= set(keys) and all(map(rule.fits, value.values()))

    return Rule(f"a mapping of {', '.join(keys)}, each to {rule.takes}", fits)


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a text that is not empty", lambda value: isinstance(value, str) and bool(value.strip()))
ANY_TEXT = Rule("a text", lambda value: isinstance(value, str))
SEED = whole(0, 2**32 - 1)
SHARE = number(low=0, high=1)
RATE = number(above=0)
EMA = number(low=0, below=1)
FILE = Rule("an existing file", lambda value: isinstance(value, str) and Path(value).expanduser().is_file())
NAME = Rule(
    "a name of letters, digits, '_', '-' and '.' that does not begin with '.'",
    lambda value: isinstance(value, str) and re.fullmatch(r"[\w-][\w.-]{0,100}", value) is not None,
)
PROJECT = Rule(
    r"a name of 1 to 128 characters without / \ # ? % :",
    lambda value: isinstance(value, str) and re.fullmatch(r"[^/\\#?%:]{1,128}", value.strip()) is not None,
)
COUNT, MANY = whole(1), whole(1, 1_000_000)

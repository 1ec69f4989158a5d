"""A run says what it does: a bar in a terminal, elsewhere (a log file, CI) lines through logging."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from weightgen.artifacts import Spec, Store

log = logging.getLogger(__name__)
LINES = 10  # of a stage of many parts, between its first and its last
PAUSE = 2.0  # seconds between two of them at least
Item = TypeVar("Item")


def reported(items: Iterable[Item], stage: str, total: int, left: Callable[[], str] = str) -> Iterator[Item]:
    """`items` as they are, one for each part of a stage, given before or after its work.

    Where stderr is no terminal: a line at the start, about LINES spread over the parts, each with the count, the seconds so
    far and those left, and one at the end with what is `left` to do after this stage.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=stage, total=total, disable=total == 1, leave=False)
        return
    start, lines, said = time.monotonic(), 0, 0.0
    log.info("%s: begins%s", stage, f", {total} to build" if total > 1 else "")
    for done, item in enumerate(items, 1):
        yield item
        seconds = time.monotonic() - start
        if done < total and done * LINES // total > lines and seconds - said >= PAUSE:
            lines, said = done * LINES // total, seconds
            to_come = spell(seconds / done * (total - done))
            log.info("%s: %d of %d in %s, about %s to come", stage, done, total, spell(seconds), to_come)
    count = f", {total}" if total > 1 else ""
    after = f"; left: {stages}" if (stages := left()) else ""
    log.info("%s: done%s in %s%s", stage, count, spell(time.monotonic() - start), after)


def ended(store: Store, spec: Spec) -> str:
    """What a stage ends with: its numbers, and where its artifact lies."""
    metrics = store.metrics(spec)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    told = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return f"{spec.label}: {told} -> {store.path(spec)}"


def spell(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

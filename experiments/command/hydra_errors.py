"""One line for what Hydra says in several: an unknown option, an unknown choice, an override that cannot be read."""

import re
from difflib import get_close_matches

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from experiments.options.table import table

QUOTING = "quote values that hold = , : or brackets, as in 'concepts.subject=\"a photo, in winter\"'"


def one_line(error: BaseException) -> str | None:
    """What was wrong with the command line or a recipe, None for any other error."""
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    text = str(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        option = found[1].partition("@")[0]
        near = get_close_matches(option, table(), n=1)
        return f"there is no option {option} here" + (f": did you mean {near[0]}?" if near else ", see --cfg job")
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, choice = found[1].rpartition("/")
        offered = text.partition("Config search path")[0]
        known = ", ".join(re.findall(r"^\t(.+)$", offered, re.MULTILINE))
        return f"{group}={choice}: takes {known}" if known else f"there is no {found[1]}, see --help"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("See https://")]
    said = " ".join(lines)[:300]
    return f"{said}; {QUOTING}" if "pars" in said.lower() or "mismatched input" in said else said

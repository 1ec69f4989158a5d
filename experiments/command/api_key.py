"""Keys stay out of every file: Hydra records what it is told, so it is never told one."""

import os
import re
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf

from weightgen.errors import WeightgenError

VARIABLE = "WEIGHTGEN_API_KEY"
_GIVEN = re.compile(r"\+{0,2}concepts\.api_key=(?P<value>.*)", re.DOTALL)
_FROM_ENVIRONMENT = re.compile(r"""["']?\$\{oc\.env:(?P<name>\w+)\}["']?""")


def hide_api_key(arguments: list[str]) -> list[str]:
    """The command line with `concepts.api_key=<key>` moved into the environment of this process and of its children.

    Before Hydra reads it: what is left names the variable alone.
    """
    hidden = []
    for argument in arguments:
        given = _GIVEN.fullmatch(argument)
        if given is None:
            hidden.append(argument)
            continue
        variable = _FROM_ENVIRONMENT.fullmatch(given["value"])
        if variable is None:
            os.environ[VARIABLE] = given["value"].strip("\"'")
        hidden.append(f"concepts.api_key_env={variable['name'] if variable else VARIABLE}")
    return hidden


def require_no_secret(config: DictConfig) -> None:
    """Raises WeightgenError if a configuration, which is written to disk, holds a key."""
    concepts = OmegaConf.to_container(config.get("concepts") or OmegaConf.create(), resolve=False)
    address = urlsplit(str(concepts.get("base_url") or ""))
    if "api_key" in concepts or "api_key" in config:
        raise WeightgenError(
            "concepts.api_key: a key has no place in a configuration, which is written to disk; export it and name "
            "the variable: concepts.api_key_env=OPENAI_API_KEY"
        )
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(concepts.get("api_key_env", VARIABLE))):
        raise WeightgenError(
            "concepts.api_key_env is the name of an environment variable, not a key (what was given is not repeated "
            "here): concepts.api_key_env=OPENAI_API_KEY"
        )
    if address.username or address.password or address.query:
        raise WeightgenError(
            "concepts.base_url holds a password or a query, and it is written to disk; export the key and name the "
            "variable: concepts.api_key_env=OPENAI_API_KEY"
        )

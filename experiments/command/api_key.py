"""Keys stay out of every file: Hydra records what it is told, so it is never told one."""

import os
import re
import sys
from typing import Any
from urllib.parse import urlsplit

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

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


class NoSecrets(Callback):
    """Ends a run whose configuration holds a key, before anything of it is written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._check(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._check(config)

    @staticmethod
    def _check(config: DictConfig) -> None:
        concepts = OmegaConf.to_container(config.get("concepts") or OmegaConf.create(), resolve=False)
        address = urlsplit(str(concepts.get("base_url") or ""))
        if "api_key" in concepts:
            _stop("concepts.api_key: a key has no place in a configuration, which is written to disk; export it and name "
                  "the variable: concepts.api_key_env=OPENAI_API_KEY")  # fmt: skip
        if address.username or address.password:
            _stop("concepts.base_url holds a password, and it is written to disk; export the key and name the variable: "
                  "concepts.api_key_env=OPENAI_API_KEY")  # fmt: skip


def _stop(message: str) -> None:
    # Hydra turns a callback's exceptions into warnings, an exit it respects.
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)

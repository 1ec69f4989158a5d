"""`weightgen` on the command line: the commands of the library, and `weightgen run <stage>` for the stages."""

import importlib
import sys

from experiments.command.console import COMMANDS, ended, run_stage
from weightgen.commands.parser import parser


def main() -> None:
    """The entry point of the command `weightgen`."""
    if sys.argv[1:2] == ["run"]:
        run_stage(sys.argv[2:])
        return
    asked = parser().parse_args()
    module, _, function = COMMANDS[asked.command].partition(":")
    sys.exit(ended(lambda: getattr(importlib.import_module(module), function)(asked)))


if __name__ == "__main__":
    main()

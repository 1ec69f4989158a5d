"""What every option takes (`table`), what options take of one another (`together`), and the check before any work."""

from experiments.options.check import BadOption, check

__all__ = ["BadOption", "check"]

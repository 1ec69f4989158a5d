"""The artifacts there are, and which recipes use them: list, prune. `make artifacts`, `make prune`."""

import argparse
import sys

from experiments.command.inventory import listing, prune
from weightgen.errors import WeightgenError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.artifacts", description=__doc__)
    parser.add_argument("command", choices=["ls", "prune"])
    parser.add_argument("recipes", nargs="*", help="a recipe, or in quotes one with overrides: 'toy photos=folder'")
    parser.add_argument("--folder", default="artifacts", help="of all artifacts (paths.artifacts)")
    parser.add_argument("--force", action="store_true", help="of prune: delete; without it what would go is listed")
    given = parser.parse_args()
    try:
        if given.command == "ls":
            print(listing(given.folder, given.recipes))
        else:
            print(prune(given.folder, given.recipes, given.force))
    except WeightgenError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

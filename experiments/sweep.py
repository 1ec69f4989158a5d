"""Any app, chosen by the recipe: what `make sweep EXP=<recipe>` runs, once a job."""

from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.command.app import app
from weightgen.errors import WeightgenError


@app
def main(cfg: DictConfig) -> Any:
    """The value of `sweep.app`'s stage. Raises WeightgenError if there is no such app."""
    name = str(cfg.sweep.app)
    known = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py") if "@app\n" in path.read_text())
    if name not in known or name == "sweep":
        raise WeightgenError(f"sweep.app={name}: choose {', '.join(k for k in known if k != 'sweep')}")
    return import_module(f"experiments.{name}").main.stage(cfg)


if __name__ == "__main__":
    main()

"""`--help` of every app: what it does, the options used most, and where all others are."""

import sys
from pathlib import Path
from textwrap import dedent, fill

OPTIONS = """
    experiment=<recipe>     sizes and choices that belong together: demo, toy, smoke, ... (below)
    seed=0 build_seed=0     of new concepts; of base, zoo and denoiser
    seeds=[0,1,2]           of evaluate: the values of seed to report on
    methods=[e2gan,mean]    of evaluate; methods=all for every rival
    init=<method>           of finetune and generate_init: generated, mean, nearest, ...
    splits=[unseen_factor]  whose concepts are initialised and fine-tuned
    pairs=16 zoo.size=80    how many pairs a new concept has, how many LoRAs the generator learns from
    photos=folder photos.root=<folder> photos.size=64 photos.train=96 photos.test=48
    concepts=llm|file|list  your own prompts; editor=premade for pairs that exist already
    budget=<size>           {budgets}; budget.<part>.steps=...
    strategy=<devices>      {strategies}; strategy.workers=0 (processes)
    logger=csv|wandb        logger.mode=offline|online|disabled
    paths.artifacts=artifacts paths.reports=reports recipe=<name of the report's folder>
    +plan=true              only list what would be built
"""


def asks_for_help(arguments: list[str]) -> bool:
    return bool({"-h", "--help"} & set(arguments))


def help_text(module: str) -> str:
    """module: of an app, whose docstring says what it does."""
    from experiments.options.table import CONF

    def names(folder: str) -> str:
        return ", ".join(sorted(path.stem for path in (CONF / folder).glob("*.yaml")))

    groups = ", ".join(sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra"))
    name = module if module != "__main__" else f"experiments.{Path(sys.argv[0]).stem}"
    return "\n".join(
        [
            (sys.modules[module].__doc__ or "").strip(),
            "",
            f"usage: python -m {name} [experiment=<recipe>] [option=value ...] [-m option=value,value ...]",
            dedent(OPTIONS).rstrip().format(budgets=names("budget"), strategies=names("strategy")),
            "",
            fill(f"recipes: {names('experiment')}", 110, subsequent_indent="  "),
            fill(f"groups, <group>=<a file of conf/<group>>: {groups}", 110, subsequent_indent="  "),
            "all options and their values: --cfg job; Hydra's own: --hydra-help; what each means: conf/ and README.md",
            "quote values that hold = , or brackets: 'methods=[e2gan,mean]', make ... ARGS=\"'seeds=[0,1]' logger=csv\"",
        ]
    )

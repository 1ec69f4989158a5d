"""What every option takes. Keys are options as the command line spells them; `*` stands for one name.

Options that a user adds to nodes of other packages (`_target_`: optimizers, strategies) are theirs to check.
"""

from functools import cache
from pathlib import Path

from experiments.options.data import CONCEPTS, EDITOR, PHOTOS, SPLITS, SUBSET, TEXT_ENCODER
from experiments.options.rules import (
    COUNT,
    FILE,
    FLAG,
    MANY,
    NAME,
    PROJECT,
    RATE,
    SEED,
    TEXT,
    Rule,
    choice,
    either,
    optional,
    several,
    whole,
)
from experiments.options.training import BUDGET, DENOISER, INIT, LORA, REFINER, TRANSLATOR, under

EXPERIMENTS = Path(__file__).resolve().parents[1]
CONF = (EXPERIMENTS / "conf").resolve()  # in a clone a link to the conf that people edit; in a wheel a copy of it
METHODS = sorted(path.stem for path in (CONF / "init").glob("*.yaml"))
METHOD, BASE = choice(*METHODS), choice("representative", "all")
OTHERS = ("__init__", "artifacts", "console", "studies", "sweep")  # files beside the apps that a sweep can run
APPS = sorted(path.stem for path in EXPERIMENTS.glob("*.py") if path.stem not in OTHERS)
PRECISION = choice("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
FAMILIES = ("fleet", "zoo", "step", "generation", "blocks", "evaluation", "lean")


ROOT = {
    "recipe": NAME,
    "project": PROJECT,
    "seed": SEED,
    "build_seed": SEED,
    "seeds": several(SEED),
    "methods": either(choice("all"), several(METHOD)),
    "splits": several(choice(*SPLITS)),
    "base": BASE,
    "bases": several(BASE),
    "pairs": optional(COUNT),
    "scored": choice("test", "validation"),
    "evidence.pairs": COUNT,
    "build_missing": FLAG,
    "plan": FLAG,
    "fleet.size": COUNT,
    "fleet.shard": optional(whole(0)),
    "fleet.shards": optional(COUNT),
    "sweep.app": choice(*APPS),
    "paths.*": TEXT,
}
STRATEGY = {
    "trainer.accelerator": choice("cpu", "gpu"),
    "trainer.devices": COUNT,
    "trainer.precision": PRECISION,
    "ranks": either(COUNT, choice("auto")),
    "accumulate": COUNT,
    "parallel.*": optional(Rule("a Lightning strategy (_target_: ...)", lambda value: isinstance(value, dict))),
    "workers": whole(0),
    "threads": whole(1, 1024),
    "clock": choice("wall", "cpu"),
    "fleet": COUNT,
    "graphs": FLAG,
    "channels_last": FLAG,
}
BENCH = {
    "folder": TEXT,
    "only": several(choice(*FAMILIES), least=0),
    "pairs": COUNT,
    "clock": choice("wall", "cpu"),
    "sizes": several(whole(16, 4096)),
    "photos": COUNT,
    "blocks": several(COUNT),
    "fleet.concepts": several(COUNT),
    "zoo.concepts": several(COUNT),
    "*.steps": COUNT,
    "fleet.solo": COUNT,
    "*.target": RATE,
    "zoo.fleet": COUNT,
    **under("generation.lora", LORA),
    "generation.concepts": COUNT,
    "generation.target_seconds": RATE,
    "evaluation.images": whole(2),
    "lean.options": several(TEXT, least=0),
    **under("single", DENOISER),
}
SEARCH = {
    "name": NAME,
    "method": METHOD,
    "trials": COUNT,
    "worker": whole(0),
    "space": Rule("a list of {option, low and high, or choices}", lambda v: isinstance(v, list) and bool(v)),
}
STUDY = {
    "name": NAME,
    "question": TEXT,
    "axis": TEXT,
    "finetune": FLAG,
    "labels": Rule("a mapping", lambda value: isinstance(value, dict)),
    "notes": several(TEXT, least=0),
}
LOGGER = {
    "wandb": FLAG,
    "mode": choice("online", "offline", "disabled"),
    "project": PROJECT,
    "entity": optional(TEXT),
    "folder": TEXT,
    "every": COUNT,
}


@cache
def table() -> dict[str, Rule]:
    """Every option there is."""
    groups = {
        "concepts": CONCEPTS,
        "photos": PHOTOS,
        "subset": SUBSET,
        "zoo": {"size": optional(whole(2)), "beyond": FLAG, "file": TEXT, "pairs": FLAG},
        "editor": EDITOR,
        "text_encoder": TEXT_ENCODER,
        "translator": TRANSLATOR,
        "scratch": TRANSLATOR,
        "distilled": TRANSLATOR,
        "discriminator": {"width": MANY, "layers": whole(0, 8)},
        "lora": LORA,
        "blocks": {"size": whole(8, 65536), "rule": choice(1, 2, 3)},
        "denoiser": DENOISER,
        "refiner": REFINER,
        "sampler": {"steps": whole(1, 1000)},
        "init": INIT,
        "metrics": {"weights": optional(FILE)},
        "budget": BUDGET,
        "strategy": STRATEGY,
        "bench": BENCH,
        "search": SEARCH,
        "study": STUDY,
        "logger": LOGGER,
    }
    return ROOT | {option: rule for group, rules in groups.items() for option, rule in under(group, rules).items()}

"""What every option takes. Keys are options as the command line spells them; `*` stands for one name.

Options that a user adds to nodes of other packages (`_target_`: optimizers, strategies) are theirs to check.
"""

from functools import cache
from pathlib import Path

from experiments.options.rules import (
    ANY_TEXT,
    EMA,
    FILE,
    FLAG,
    NAME,
    PROJECT,
    RATE,
    SEED,
    SHARE,
    TEXT,
    Rule,
    choice,
    either,
    mapping,
    number,
    optional,
    several,
    whole,
)

CONF = Path(__file__).resolve().parents[2] / "conf"
SPLITS = ("train", "validation", "unseen_combination", "unseen_factor")
COUNT, MANY = whole(1), whole(1, 1_000_000)
METHODS = sorted(path.stem for path in (CONF / "init").glob("*.yaml"))
METHOD, BASE = choice(*METHODS), choice("representative", "all")
APPS = sorted(
    path.stem for path in (CONF.parent / "experiments").glob("*.py") if path.stem not in ("__init__", "sweep")
)
PRECISION = choice("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
FAMILIES = ("fleet", "zoo", "step", "generation", "blocks", "evaluation", "lean")
SHARES = mapping(SHARE, *SPLITS)

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
    "zoo": optional(whole(2)),
    "pairs": optional(COUNT),
    "evidence.pairs": COUNT,
    "build_missing": FLAG,
    "plan": FLAG,
    "fleet.size": COUNT,
    "fleet.shard": optional(whole(0)),
    "fleet.shards": optional(COUNT),
    "sweep.app": choice(*APPS),
    "paths.*": TEXT,
}
CONCEPTS = {
    "train": optional(COUNT),
    "validation": whole(0),
    "unseen_combination": whole(0),
    "unseen_factor": whole(0),
    "media": optional(COUNT),
    "palettes": optional(COUNT),
    "holdout_media": whole(0),
    "holdout_palettes": whole(0),
    "seed": SEED,
    "path": TEXT,
    "items": Rule("a list of concepts, each {prompt: <text>, split: <split>}", lambda value: isinstance(value, list)),
    "splits": SHARES,
    "base_url": optional(ANY_TEXT),
    "model": TEXT,
    "api_key_env": TEXT,
    "timeout": RATE,
    "retries": whole(0),
    "temperature": optional(number(low=0)),
    "count": COUNT,
    "subject": TEXT,
    "categories": several(TEXT),
    "batch": COUNT,
    "similarity": number(above=0, high=1),
    "paraphrases": whole(0),
    "collection": whole(0),
}
PHOTOS = {
    "size": whole(16, 4096),
    "train": MANY,
    "test": whole(2, 1_000_000),  # the spread of one photo's features is unknown
    "seed": SEED,
    "root": optional(TEXT),
    "test_fraction": number(above=0, below=1),
    "skip_bad": FLAG,
    "crop": choice("random", "central", "face_agnostic"),
    "min_scale": number(above=0, high=1),
    "repo": optional(TEXT),
    "column": TEXT,
    "split": TEXT,
    "config": optional(TEXT),
    "revision": optional(TEXT),
    "streaming": FLAG,
    "limit": whole(2),
    "dataset": TEXT,
    "download": FLAG,
}
EDITOR = {
    "model": TEXT,
    "revision": optional(TEXT),
    "dtype": choice("float32", "float16", "bfloat16"),
    "size": optional(whole(16, 4096, multiple=8)),
    "steps": COUNT,
    "guidance_scale": number(low=0),
    "image_guidance_scale": number(low=1),
    "negative_prompt": ANY_TEXT,
    "prompt_template": Rule("a text with {prompt} in it", lambda value: isinstance(value, str) and "{prompt}" in value),
    "source_prompt": TEXT,
    "strength": number(above=0, high=1),
    "null_text_steps": whole(0),
    "null_text_lr": RATE,
    "max_sequence_length": COUNT,
    "seed": SEED,
    "min_change": SHARE,
    "retries": whole(0),
    "min_kept": SHARE,
    "safety_checker": FLAG,
    "device": TEXT,
    "batch_size": COUNT,
    "attention_slicing": FLAG,
    "offload": choice("none", "model", "sequential"),
    "workers": whole(0),
    "root": optional(TEXT),
    "dataset.name": optional(TEXT),
    "dataset.columns": mapping(TEXT, "image", "edited", "prompt"),
    "dataset.split": TEXT,
    "dataset.config": optional(TEXT),
    "dataset.revision": optional(TEXT),
    "dataset.limit": COUNT,
    "dataset.min_pairs": whole(4),
    "train": MANY,
    "test": whole(2, 1_000_000),
    "test_fraction": number(above=0, below=1),
    "splits": SHARES,
    "concepts_csv": optional(TEXT),
    "layout": choice("auto", "ab", "folders"),
    "direction": choice("a_to_b", "b_to_a"),
    "source": TEXT,
    "target": TEXT,
    "cache": optional(TEXT),
}
TRANSLATOR = {
    "width": MANY,
    "downs": whole(0, 8),
    "resnet_blocks": whole(0),
    "transformer_blocks": whole(0),
    "heads": COUNT,
    "skips": choice("add", "none"),
    "positions": whole(0, 16),
    "widths": Rule(
        "a list of whole numbers from 1", lambda v: isinstance(v, list) and bool(v) and all(map(MANY.fits, v))
    ),
    "dropout": number(low=0, below=1),
    "vector": MANY,
    "latent": MANY,
    "mapping_layers": whole(0),
}
LORA = {"ranks.*": COUNT, "alpha": RATE, "train": choice("b", "ab"), "seed": SEED, "seeds": choice("shared", "own")}
DENOISER = {"width": MANY, "layers": COUNT, "levels": whole(1, 8), "heads": COUNT, "patch": COUNT, "rank": whole(0)}
INIT = {
    "steps": COUNT,
    "pairs": COUNT,
    "rate": either(RATE, mapping(RATE, "representative", "all")),
    "betas": Rule(
        "two numbers from 0 to below 1", lambda v: isinstance(v, list) and len(v) == 2 and all(map(EMA.fits, v))
    ),
    "rounds": whole(1, 100),
    "start": choice("generated", "zero"),
    "width": MANY,
    "epochs": COUNT,
    "patience": COUNT,
    "components": COUNT,
    "lr": RATE,
    "weight_decay": number(low=0),
    "k": COUNT,
    "temperature": RATE,
    "scale": number(low=0),
    "penalties": several(RATE),
}
# Of every training. `steps` of some parts may be 0, which leaves them out.
TRAINING = {
    "steps": COUNT,
    "batch_size": MANY,
    "adversarial": FLAG,
    "l1_weight": number(low=0),
    "warmup_steps": whole(0),
    "decay_start": SHARE,
    "ema_decay": EMA,
    "optimizer.lr": RATE,
    "optimizer.betas": INIT["betas"],
    "optimizer.weight_decay": number(low=0),
    "discriminator_optimizer.lr": RATE,
    "discriminator_optimizer.betas": INIT["betas"],
}
SCHEDULE = {"steps": whole(0), "points": several(COUNT, least=0)}


def under(prefix: str, *tables: dict[str, Rule]) -> dict[str, Rule]:
    """The options of `tables`, later ones over earlier ones, below `prefix`."""
    return {f"{prefix}.{name}": rule for table in tables for name, rule in table.items()}


BUDGET = {
    **under("base", TRAINING, {"concepts": COUNT}),
    **under("lora", TRAINING, {"steps_ceiling": COUNT}),
    **under(
        "denoiser", TRAINING, {"prediction": choice("sample", "v_prediction"), "concepts": COUNT, "blocks": whole(0)}
    ),
    **under("denoiser", {"terminal_fraction": SHARE}),
    **under("function", TRAINING, {"steps": whole(0), "start": choice("denoiser", "fresh"), "concepts": COUNT}),
    **under("function", {"photos": COUNT, "weight_loss": number(low=0)}),
    **under("guide", TRAINING, {"concepts": COUNT, "pairs": several(COUNT), "query": COUNT, "foreign": SHARE}),
    "guide.rounds": whole(1, 100),
    **under("finetune", TRAINING, {"trainable": choice("all", "lora"), "discriminator": choice("fresh", "base")}),
    "finetune.clock": choice("wall", "cpu"),
    **under("finetune.*", TRAINING, SCHEDULE),
    "checkpoint_every": COUNT,
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
    "fleet": COUNT,
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
SUBSET = {"fraction": number(above=0, high=1), "same_epochs": FLAG, "concepts": optional(number(above=0, high=1))}
REFINER = {"width": MANY, "layers": COUNT, "heads": COUNT, "hidden": COUNT, "rate": RATE}
TEXT_ENCODER = {"max_length": whole(3), "architecture": TEXT, "pretrained": TEXT}


@cache
def table() -> dict[str, Rule]:
    """Every option there is."""
    groups = {
        "concepts": CONCEPTS,
        "photos": PHOTOS,
        "subset": SUBSET,
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

"""What the options of nets, inits and budgets take."""

from experiments.options.rules import (
    COUNT,
    EMA,
    FLAG,
    MANY,
    RATE,
    SEED,
    SHARE,
    Rule,
    choice,
    either,
    mapping,
    number,
    optional,
    several,
    whole,
)

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
    "rates": several(RATE),
    "starts": whole(1, 1000),
    "look": COUNT,
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
    "ks": several(COUNT),
    "temperatures": several(RATE),
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
SCHEDULE = {"steps": whole(0), "points": either(whole(3), several(COUNT, least=0))}


def under(prefix: str, *tables: dict[str, Rule]) -> dict[str, Rule]:
    """The options of `tables`, later ones over earlier ones, below `prefix`."""
    return {f"{prefix}.{name}": rule for table in tables for name, rule in table.items()}


BUDGET = {
    **under("base", TRAINING, {"concepts": COUNT}),
    **under("lora", TRAINING, {"steps_own": COUNT}),
    **under(
        "denoiser",
        TRAINING,
        {
            "prediction": choice("sample", "v_prediction", "direct"),
            "concepts": COUNT,
            "blocks": whole(0),
            "validate_every": whole(0),
        },
    ),
    **under("denoiser", {"terminal_fraction": SHARE}),
    **under("function", TRAINING, {"steps": whole(0), "start": choice("denoiser", "fresh"), "concepts": COUNT}),
    **under("function", {"photos": COUNT, "weight_loss": number(low=0), "perceptual": number(low=0)}),
    **under("guide", TRAINING, {"concepts": COUNT, "pairs": several(COUNT), "query": COUNT, "foreign": SHARE}),
    "guide.rounds": whole(1, 100),
    **under("finetune", TRAINING, {"trainable": choice("all", "lora"), "discriminator": choice("fresh", "base")}),
    "finetune.clock": choice("wall", "cpu"),
    "finetune.epochs": optional(mapping(COUNT, "scratch", "lora", "generated")),
    **under("finetune.*", TRAINING, SCHEDULE),
    "checkpoint_every": COUNT,
}
REFINER = {"width": MANY, "layers": COUNT, "heads": COUNT, "hidden": COUNT, "rate": RATE}

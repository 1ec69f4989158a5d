"""What every W&B run of ours has in common: how it is described, its axes, its quiet settings."""

from typing import Any

import wandb
from omegaconf import DictConfig

from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept

SECONDS = "time/train_seconds"


def settings() -> wandb.Settings:
    """No console, code or machine data; a hard kill loses at most a second of metrics."""
    return wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_transaction_log_flush_interval=1,
    )


def start_run(cfg: DictConfig, job_type: str, **options: Any) -> wandb.Run:
    """A run of the recipe's group, beside others that are open, with our axes. options: wandb.init's."""
    run = wandb.init(
        project=cfg.logger.project,
        entity=cfg.logger.entity,
        mode=cfg.logger.mode,
        dir=cfg.logger.folder,
        group=cfg.recipe,
        job_type=job_type,
        reinit="create_new",  # a fleet's run goes on while its concepts' runs come and go
        settings=settings(),
        **options,
    )
    define_axes(run)
    return run


def describe_run(cfg: DictConfig, spec: Spec) -> dict[str, Any]:
    """A run's config: what to group and filter by, first of all method and concept; then the stage's own configuration,
    its key, and references to what it is made from."""
    match spec.subject:
        case (method, Concept() as concept, seed):
            about = {"method": method, "concept": concept.name, "prompt": concept.prompt}
            about |= {"split": concept.split, "seed": seed}
        case Concept() as concept:
            about = {"concept": concept.name, "prompt": concept.prompt, "split": concept.split}
        case _:
            about = {}
    return {
        "recipe": cfg.recipe,
        "base": cfg.base,
        **about,
        "stage": spec.describe(),
        "key": spec.key,
        "inputs": [source.reference() for source in spec.inputs],
    }


def define_axes(run: wandb.Run) -> None:
    """Scores of all methods share their names, and their x-axis: training seconds."""
    run.define_metric(SECONDS)
    run.define_metric("eval/*", step_metric=SECONDS)

"""What every W&B run of ours has in common: how it is described, its axes, its quiet settings."""

from typing import Any

import wandb

from experiments.pipeline.runtime import Logging

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


def start_run(logger: Logging, recipe: str, job_type: str, **options: Any) -> wandb.Run:
    """A run of the recipe's group, beside others that are open, with our axes. options: wandb.init's."""
    run = wandb.init(
        project=logger.project,
        entity=logger.entity,
        mode=logger.mode,
        dir=logger.folder,
        group=recipe,
        job_type=job_type,
        reinit="create_new",  # a comparison's run may be open beside a stage's
        settings=settings(),
        **options,
    )
    define_axes(run)
    return run


def define_axes(run: wandb.Run) -> None:
    """Scores of all methods share their names, and their x-axis: training seconds."""
    run.define_metric(SECONDS)
    run.define_metric("eval/*", step_metric=SECONDS)

"""Fit one module inside an artifact folder: resumable, logged, quiet when nobody watches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from experiments.pipeline.ranks import Environment, Followed, rank, world
from experiments.pipeline.runtime import Runtime
from experiments.training.checkpoints import AfterStep, Checkpoints, Seconds, resumable
from experiments.training.csv_log import CsvLog
from experiments.training.lanes import HALF, Training, fit_lane
from experiments.training.wandb_run import SECONDS, start_run
from weightgen.diffusion.averaged import AveragedModule
from weightgen.errors import NotFinite, WeightgenError
from weightgen.evaluation.callback import EvaluationCallback
from weightgen.rng import reseed
from weightgen.slices import Slices
from weightgen.translation.training import TranslatorModule


class LossLogger(AfterStep):
    """Logs `module.last_losses` every `every` batches (of several processes: their mean), with the train seconds where
    there is a clock."""

    def __init__(self, every: int) -> None:
        self.every = every

    def after_step(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        if step % self.every:
            return
        values = {name: float(trainer.strategy.reduce(value)) for name, value in module.last_losses.items()}
        values |= {SECONDS: float(module.train_seconds)} if hasattr(module, "train_seconds") else {}
        for logger in trainer.loggers:
            logger.log_metrics({"step": step, **values}, step=step)


class SeededDropout(pl.Callback):
    """Dropout draws from a stream of (the artifact's key, step): results are functions of keys, and go on bit for bit."""

    def __init__(self, key: str) -> None:
        self.seed = int(key or "0", 16)

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        reseed(self.seed, "training/dropout", index)


class Progress(AfterStep):
    """A bar with an ETA over batches; silent when stderr is not a terminal."""

    def __init__(self, label: str, steps: int, start: int) -> None:
        self.bar = tqdm(desc=label, total=steps, initial=start, disable=None, leave=False)

    def after_step(self, *args: Any) -> None:
        self.bar.update()

    def on_train_end(self, *args: Any) -> None:
        self.bar.close()


def fit(
    runtime: Runtime,
    module: pl.LightningModule,
    batches: Any,
    folder: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[pl.Callback] = (),
    label: str = "training",
    bar: bool = True,
    parallel: str | None = None,
) -> float:
    """Train to the end of `batches` (they know `steps` and `start`), resuming from a checkpoint here. -> the seconds that it
    took, those of attempts before a kill included, summed over processes.

    parallel: which of strategy.parallel shares each batch among the processes of this stage, if there are several. With
    strategy.graphs a training is a lane where it can be, else a run of Lightning's.
    """
    watched = all(isinstance(callback, EvaluationCallback) for callback in callbacks)  # a lane calls no other
    if runtime.graphs and world() == 1 and batches.steps and watched and by_lane(runtime, module):
        evaluation = next(iter(callbacks), None)
        with channels_last(module, runtime.channels_last):
            checkpoint = folder / ".checkpoint" / "lane.safetensors"
            return fit_lane(runtime, Training(module, batches, evaluation), checkpoint, loggers, label, bar)
    checkpoint = folder / ".checkpoint" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    resume = None
    if saved := resumable(checkpoint):
        resume, batches.start = saved
    seconds = Seconds()
    progress = [Progress(label, batches.steps, batches.start)] if bar and rank() == 0 else []
    options, batches = shared(runtime, module, batches, parallel)
    trainer = pl.Trainer(
        **{**runtime.trainer, **options},
        max_epochs=1,
        logger=list(loggers),
        callbacks=[
            *([SeededDropout(runtime.run.id if runtime.run else "")] if drops(module) else []),
            *callbacks,
            seconds,
            LossLogger(runtime.logger.every),
            *progress,
            Checkpoints(checkpoint, runtime.checkpoint_every),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=runtime.logger.every,
        default_root_dir=folder,
    )
    with channels_last(module, runtime.channels_last):
        trainer.fit(module, batches, ckpt_path=resume)
    return seconds.total() * world()


def shared(
    runtime: Runtime, module: pl.LightningModule, batches: Any, parallel: str | None
) -> tuple[dict[str, Any], Any]:
    """Trainer options and batches of one process of a stage; parallel: see `fit`.

    Raises WeightgenError if the batches or the module cannot be shared with an equal result.
    """
    # a GAN's batch is trained at once: each of its two losses would otherwise want the parts of the other's first
    parts = runtime.accumulate if parallel and module.automatic_optimization else 1
    if parallel is None or world() * parts == 1:
        return {}, batches
    mixing = [m for m in module.modules() if isinstance(m, _BatchNorm | nn.Dropout) and m.training]
    if any(getattr(m, "p", 1) > 0 for m in mixing):
        raise WeightgenError(
            f"{type(mixing[0]).__name__} makes a result depend on how batches are shared out: train this network with "
            "strategy.ranks=1 strategy.accumulate=1"
        )
    options: dict[str, Any] = {"accumulate_grad_batches": parts} if parts > 1 else {}
    slices = Slices(batches, rank(), world(), parts)
    if world() > 1:
        # auto: as many as there are processes
        node = {name: world() if value == "auto" else value for name, value in runtime.parallel[parallel].items()}
        options |= {"strategy": instantiate(node), "devices": world(), "plugins": [Environment()]}
        options |= {"use_distributed_sampler": False}
    return options, slices


def by_lane(runtime: Runtime, module: pl.LightningModule) -> bool:
    """Whether this training has a form on static buffers: a GAN's or a denoiser's, without dropout, of whole batches, in a
    precision that lanes have."""
    kinds = (TranslatorModule, AveragedModule) if runtime.accumulate == 1 else TranslatorModule
    return isinstance(module, kinds) and not drops(module) and runtime.trainer["precision"] in HALF


def drops(module: nn.Module) -> bool:
    """Whether its training draws dropout."""
    return any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in module.modules())


def require_finite(module: nn.Module, what: str) -> None:
    """Raises NotFinite if training ended in a weight that is no number."""
    for name, weight in module.named_parameters():
        if not bool(weight.isfinite().all()):
            raise NotFinite(f"{what}: {name} is not finite after training: lower the learning rate of its budget")


@contextmanager
def channels_last(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Where `wanted`, convolutions run in the channels-last layout meanwhile; then the weights are contiguous again,
    as safetensors wants them."""
    if wanted:
        module.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        if wanted:
            module.to(memory_format=torch.contiguous_format)


@contextmanager
def tracked(runtime: Runtime, folder: Path, tags: Sequence[str] = ()) -> Iterator[list[Logger]]:
    """CSV beside the artifact and one W&B run: group recipe, job_type stage, tags method and concept, and `tags`.

    Only rank 0 logs, and only rank 0 gets past the end of this block: what comes after it writes.
    """
    if rank() > 0:
        yield []
        raise Followed
    loggers: list[Logger] = [CsvLog(folder / "log" / "metrics.csv")]
    run = None
    if runtime.logger.wandb:
        told = runtime.run
        run = start_run(
            runtime.logger,
            runtime.recipe,
            told.stage,
            name=told.name,
            tags=[*told.tags, *(tag[:64] for tag in tags)],
            config=told.config,
            id=told.id,  # a stage that goes on after a kill goes on in its run
            resume="allow",
        )
        loggers.append(WandbLogger(experiment=run))
    failed = True
    try:
        yield loggers
        failed = False
    finally:
        for logger in loggers:
            logger.finalize("failed" if failed else "success")
        if run is not None:
            run.finish(exit_code=int(failed))


def log_scores(loggers: Sequence[Logger], step: int, scores: dict[str, float], feature_set: str) -> None:
    """fid also under the name of its features: only Inception's is the FID."""
    named = {f"fid_{feature_set}": scores["fid"]} if "fid" in scores else {}
    values = {SECONDS if name == "train_seconds" else name: value for name, value in scores.items()}
    for logger in loggers:
        scope = "eval/" if isinstance(logger, WandbLogger) else ""  # whose x-axis is the training seconds
        logger.log_metrics(
            {name if name == SECONDS else scope + name: value for name, value in (values | named).items()}, step=step
        )


def log_images(loggers: Sequence[Logger], step: int, panels: dict[str, Tensor]) -> None:
    """panels: name -> uint8 (n, 3, H, W), each logged as one row of images."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            for name, images in panels.items():
                row = torch.cat(list(images), dim=2).permute(1, 2, 0).numpy()
                logger.log_image(f"images/{name}", [row], step=step, caption=[f"{name}, step {step}"])

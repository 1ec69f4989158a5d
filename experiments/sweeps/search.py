"""Hyper-parameters of the denoiser or the LoRAs by optuna, judged on validation concepts. `make sweep EXP=search_lora`.

The study lives in reports/<recipe>/search/<name>: killed and started again it goes on where it was, and any number of
processes share it. Objective: mean L1 to the targets of `search.method`'s translators on validation photos, at step 0.
"""

import copy
import hashlib
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.command.app import explain
from experiments.pipeline.build import Pipeline
from experiments.pipeline.options import plain
from experiments.sweeps.jobs import withdraw
from experiments.sweeps.study import step_zero
from experiments.sweeps.trials import Trials
from weightgen.artifacts import Spec
from weightgen.errors import WeightgenError

log = logging.getLogger(__name__)
SPLIT = "validation"


class Unusable(Exception):
    """Values that lead nowhere (LoRAs diverge): the search learns to avoid them, and nothing has failed."""


def changed(cfg: DictConfig, values: dict[str, Any]) -> DictConfig:
    """`cfg` with a trial's values, without fine-tuning. Raises WeightgenError if there is no such option."""
    cfg = copy.deepcopy(cfg)
    for option, value in values.items():
        try:
            OmegaConf.update(cfg, option, value)
        except OmegaConfBaseException:
            raise WeightgenError(f"search.space names {option}, which is no option: correct conf/search") from None
    cfg.budget.lora.steps_own = cfg.budget.lora.steps  # validation concepts train as the zoo's do
    cfg.splits, cfg.scored = [SPLIT], SPLIT
    return step_zero(cfg)


def targets(pipeline: Pipeline) -> list[Spec]:
    """What is scored: one run at step 0 a validation concept."""
    method, seed = pipeline.cfg.search.method, pipeline.cfg.build_seed
    return [pipeline.finetune(method, concept, seed) for concept in pipeline.test_concepts]


def objective(cfg: DictConfig) -> float:
    """Mean L1 in [0, 1] over validation concepts. Raises Unusable if a LoRA of theirs, or the whole zoo, diverged."""
    pipeline = Pipeline(cfg)
    specs = targets(pipeline)
    if "own" in pipeline.init_class(cfg.search.method).needs:
        loras = [pipeline.lora(concept) for concept in pipeline.test_concepts]
        pipeline.ensure_all(loras)
        if lost := [spec.subject.name for spec in loras if pipeline.store.metrics(spec)["diverged"]]:
            raise Unusable(f"the LoRA of {', '.join(lost)} diverged")
    pipeline.ensure_all(specs)
    return sum(pipeline.store.metrics(spec)["l1"] for spec in specs) / len(specs)


def fingerprint(cfg: DictConfig) -> str:
    """Of everything but the searched values: trials of other settings have no place in one study."""
    keys = [spec.key for spec in targets(Pipeline(changed(cfg, {})))]
    return hashlib.sha256(json.dumps([keys, plain(cfg.search.space)]).encode()).hexdigest()[:20]


def attempt(cfg: DictConfig, trials: Trials, trial: Any) -> str | None:
    """Run one trial; why it failed, None if it did not."""
    try:
        trials.done(trial, objective(changed(cfg, trial.params)))
    except Unusable as nothing:
        trials.unusable(trial, str(nothing))
    except Exception as error:
        reason = explain(error)
        if reason is None:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
        trials.failed(trial, reason)
        return reason
    finally:
        withdraw()  # this job is for all trials, not for one's artifacts
    return None


def run(cfg: DictConfig) -> float:
    """The best value so far. Raises WeightgenError naming the trials that failed, after all others."""
    folder = Path(cfg.paths.reports) / cfg.recipe / "search" / cfg.search.name
    trials = Trials(folder, plain(cfg.search.space), cfg.search.trials, cfg.build_seed, fingerprint(cfg))
    failures = []
    while trial := trials.next():
        about = f"trial {trial.number} ({' '.join(f'{k}={v}' for k, v in trial.params.items())})"
        if reason := attempt(cfg, trials, trial):
            print(f"{about} failed: {reason}", file=sys.stderr, flush=True)
            failures.append(f"{about}: {reason}")
        log.info("%s: %s", about, trials.report(trial.number))
    if failures:
        raise WeightgenError(f"{len(failures)} trials failed, run again to repeat them: {'; '.join(failures)}")
    best = trials.best()
    log.info("best: l1 %.4f with %s -> %s", best.value, best.params, folder / "best.yaml")
    return best.value

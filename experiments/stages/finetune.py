"""Stage 7: fine-tune an initialisation on unseen concepts, measured off the clock. `make finetune`; sweep with -m."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Artifact, Inputs, Stage
from experiments.stages import pairs as pairs_stage
from experiments.stages import photos
from experiments.stages.init import init_class
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept
from weightgen.errors import WeightgenError

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger
    from torch import Tensor, nn

    from experiments.training.lanes import Training
    from weightgen.evaluation.callback import Report

SAMPLES = 4  # scored images kept for the grid, those with the most detail
SCHEDULES = ("scratch", "lora", "own")


def spec(
    options: Options,
    method: Mapping[str, Any],
    concept: Concept,
    seed: int,
    pairs: Mapping[str, Any],
    inputs: Sequence[Spec],
) -> Spec:
    """pairs: how many of them a new concept has, where that is not all. inputs: the concept's text and pairs, the shared
    photos, a subset of those where one is wanted; where it does not start from scratch the initial LoRA and its base."""
    init, given = init_class(method), dict(options("budget.finetune"))
    schedules, epochs = {name: given.pop(name) for name in SCHEDULES}, given.pop("epochs") or {}
    budget = given | schedules[init.schedule()]
    if passes := epochs.get("generated" if "generator" in init.needs else init.schedule()):
        budget["steps"] = epoch_steps(options, passes, budget["batch_size"])
    if not budget["ema_decay"]:  # then a run is what it was before there were averages, and so is its key
        del budget["ema_decay"]
    config = {
        **options.by_content("discriminator", "metrics"),
        "budget": photos.subset_budget(options, budget),
        **photos.subset_key(options),
        **(pairs if init.schedule() != "own" else {}),
        **({"scratch": options(init.net)} if init.from_scratch() else {"lora": options("lora")}),
        "accelerator": options("strategy.trainer.accelerator"),  # its seconds are part of the result
        "scored": options("scored"),
        "seed": seed,
    }
    name = method["name"]
    return STAGE.spec(config, inputs, f"finetune {name} {concept.name} {seed}", (name, concept, seed))


def epoch_steps(options: Options, epochs: int, batch_size: int) -> int:
    """Steps of so many passes over a concept's pairs. Raises WeightgenError where nobody knows how many it has."""
    if options("pairs") is None and pairs_stage.premade(options):
        raise WeightgenError("budget.finetune.epochs wants to know how many pairs a concept has: add pairs=<number>")
    count = options("pairs") or options("photos.train")
    return max(1, round(epochs * count / batch_size))


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """rows.json (one per evaluation point), samples.safetensors (outputs at the first and last of the photos `rows`),
    the trained weights unless one is not finite."""
    from experiments.training.fit import fit, tracked

    with tracked(runtime, folder) as loggers:
        trained = training(config, inputs, runtime)
        trained.evaluation.report = reporter(config, inputs, runtime, loggers)
        seconds = fit(runtime, trained.module, trained.batches, folder, loggers, [trained.evaluation], bar=False)
        return publish(config, inputs, folder, runtime, loggers, trained, seconds)


def training(config: Mapping[str, Any], inputs: Inputs, runtime: Runtime) -> "Training":
    """One run: what it trains, on what, and where it is measured; experiments.pipeline.fleet trains many at once."""
    import torch

    from experiments.training.gan import gan_options
    from experiments.training.lanes import Training
    from experiments.training.payloads import (
        image_metrics,
        optimizer,
        pair_tensors,
        read_text,
        reference,
        training_pairs,
    )
    from weightgen.batches import PairBatches, Pairs, Texts
    from weightgen.errors import NotFinite
    from weightgen.evaluation.callback import EvaluationCallback
    from weightgen.evaluation.metrics import collapsed
    from weightgen.translation.training import FineTuneModule

    budget, seed = config["budget"], config["seed"]
    text, pairs, shared = read_text(inputs.one("text")), inputs.one("pairs"), inputs.maybe("photos")
    rows = photos.chosen_rows(inputs)
    if "pairs" in config:
        sources, edited = training_pairs(pairs, shared, rows, seed, config["pairs"])
    else:
        sides = (side["train"] for side in pair_tensors(pairs, shared))
        sources, edited = (side if rows is None else side[rows] for side in sides)
    texts = Texts(text.tokens, text.mask, [[0]])
    batches = PairBatches(Pairs(sources, [edited]), texts, budget["batch_size"], seed=seed, steps=budget["steps"])
    model, seconds = initial_model(config, inputs)
    module = FineTuneModule(
        model,
        initial_discriminator(config, inputs),
        optimizer(budget["optimizer"]),
        **gan_options(budget),
        ema_decay=budget.get("ema_decay", 0.0),
        max_steps=budget["steps"],
        init_seconds=seconds,
        clock=budget["clock"],
    )
    features = runtime.local(config["metrics"])
    metrics = image_metrics(features, runtime.device)
    target = reference(features, pairs, config["scored"], runtime.device)
    scored, _, shown = scored_photos(config, inputs)

    def measure(module: FineTuneModule) -> "tuple[dict[str, float], Tensor]":
        try:
            outputs = module.translate(scored, text.tokens, text.mask)
        except NotFinite:  # scored as the black that it is, and said to be collapsed
            outputs = torch.zeros_like(scored)
        return metrics(outputs, target) | {"collapsed": float(collapsed(outputs))}, outputs[shown]

    return Training(module, batches, EvaluationCallback(measured_at(budget["steps"], budget["points"]), measure))


def publish(
    config: Mapping[str, Any],
    inputs: Inputs,
    folder: Path,
    runtime: Runtime,
    loggers: "Sequence[Logger]",
    trained: "Training",
    seconds: float,
) -> dict[str, Any]:
    """Save what `build` promises, and log the measurements that nobody reported; -> metrics.json's content."""
    from weightgen.files import save_tensors, write_json
    from weightgen.translation.lora import lora_state

    budget, evaluation, generator = config["budget"], trained.evaluation, trained.module.averaged
    if evaluation.report is None:
        report = reporter(config, inputs, runtime, loggers)
        for row in evaluation.rows:
            report(row["step"], row, evaluation.samples[row["step"]])
    write_json(folder / "rows.json", evaluation.rows)
    samples = {"start": evaluation.samples[0], "end": evaluation.samples[budget["steps"]]}
    kept = {name: outputs.clone() for name, outputs in samples.items()}
    _, _, shown = scored_photos(config, inputs)
    save_tensors(folder / "samples.safetensors", kept | {"rows": shown})
    lora = "lora" in config and budget["trainable"] == "lora"
    state = lora_state(generator) if lora else generator.state_dict()
    if all(bool(weight.isfinite().all()) for weight in state.values()):
        save_tensors(folder / ("lora.safetensors" if lora else "generator.safetensors"), state)
    return evaluation.rows[-1] | {"seconds": seconds}


def scored_photos(config: Mapping[str, Any], inputs: Inputs) -> "tuple[Tensor, Tensor, Tensor]":
    """The photos that a run is scored on and their targets, uint8 (N, 3, S, S), and the rows of those that are shown."""
    import torch

    from experiments.training.payloads import pair_tensors
    from weightgen.data.photos.crops import detail

    pairs, shared, part = inputs.one("pairs"), inputs.maybe("photos"), config["scored"]
    images, targets = (side[part] for side in pair_tensors(pairs, shared))
    return images, targets, torch.tensor(shown_rows(detail(images).tolist(), photo_names(pairs, shared, part)))


def reporter(config: Mapping[str, Any], inputs: Inputs, runtime: Runtime, loggers: "Sequence[Logger]") -> "Report":
    """What hears of each measurement: scores into the logs, pictures of the first and the last."""
    from experiments.training.fit import log_images, log_scores
    from experiments.training.payloads import image_metrics

    images, targets, shown = scored_photos(config, inputs)
    name = image_metrics(runtime.local(config["metrics"]), runtime.device).features.name

    def report(step: int, row: "dict[str, float]", outputs: "Tensor") -> None:
        log_scores(loggers, step, {k: v for k, v in row.items() if k != "step"}, name)
        if step in (0, config["budget"]["steps"]):
            log_images(loggers, step, {"source": images[shown], "target": targets[shown], "output": outputs})

    return report


STAGE = Stage("finetune", 1, "finetune", build, per_concept=True)


def photo_names(pairs: Artifact, photos: Artifact | None, part: str) -> list[str] | None:
    """Which photo each crop of a part is cut out of; None where a concept has photos of its own, one a pair."""
    from experiments.training.payloads import has_own_photos
    from weightgen.files import read_json

    return None if has_own_photos([pairs]) else read_json(photos.folder / "names.json")["names"][part]


def shown_rows(details: Sequence[float], names: Sequence[str] | None) -> list[int]:
    """The SAMPLES crops with the most detail, of as many photos as there are. names: the photo of each; None: all differ."""
    order = sorted(range(len(details)), key=lambda row: -details[row])
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(names[row] if names else str(row), row)
    return [*first.values(), *(row for row in order if row not in first.values())][:SAMPLES]


def measured_at(steps: int, points: int | Sequence[int]) -> list[int]:
    """Steps at which a run is measured, ascending: the first and the last, and `points` between, or so many in all, evenly
    spaced in the logarithm."""
    if not isinstance(points, int):
        return sorted({point for point in points if point < steps} | {0, steps})
    first, between = max(1, steps // 200), max(points - 2, 1)
    spaced = {round(first * (steps / first) ** (i / between)) for i in range(between)} if steps else set()
    return sorted(spaced | {0, steps})


def initial_model(config: Mapping[str, Any], inputs: Inputs) -> "tuple[nn.Module, float]":
    """The translator that training starts from, and the seconds its initialisation took."""
    from experiments.training.payloads import load_base, seeded, tensors
    from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state, merge_lora
    from weightgen.translation.nets import TRANSLATORS

    if "scratch" in config:
        return seeded(config["seed"], TRANSLATORS, config["scratch"]), 0.0
    init = inputs.one("init")
    model = inject_lora(load_base(inputs.one("base")), LoraSpec(**config["lora"]))
    model = load_lora_state(model, tensors(init.folder / "lora.safetensors"))
    if config["budget"]["trainable"] == "all":
        model = merge_lora(model)
    return model, init.metrics["cpu_seconds" if config["budget"]["clock"] == "cpu" else "seconds"]


def initial_discriminator(config: Mapping[str, Any], inputs: Inputs) -> "nn.Module | None":
    """Fresh weights by seed, or the base's (budget `discriminator: base`); None without one."""
    from experiments.training.gan import new_discriminator
    from experiments.training.payloads import tensors

    discriminator, base = new_discriminator(config), inputs.maybe("base")
    if discriminator is not None and base is not None and config["budget"]["discriminator"] == "base":
        discriminator.load_state_dict(tensors(base.folder / "discriminator.safetensors"))
    return discriminator

"""Stage 5: the weight generator's denoiser on the zoo's blocks. `make denoiser`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from experiments.stages.base import described
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from weightgen.generation.block_generator import BlockGenerator
    from weightgen.text.encoders import TextFeatures
    from weightgen.weights.blocks import BlockLayout
    from weightgen.weights.normalizer import Normalizer
    from weightgen.weights.zoo import Zoo

SHOWN = 4  # train concepts whose generated translators are logged and scored


def spec(options: Options, zoo: Sequence[Concept], validation: Sequence[Concept], inputs: Sequence[Spec]) -> Spec:
    """validation: concepts whose LoRAs the best weights are kept by, where budget.denoiser.validate_every says so.
    inputs: the blocks, the zoo's text and that of `validation` after it, and its LoRAs; to score some of the zoo's own
    concepts the base, their pairs, the shared photos."""
    config = {
        **options.by_content("denoiser"),
        "prediction": options("budget.denoiser.prediction"),
        "budget": options("budget.denoiser"),
        "lora": options("lora"),
        "seed": options("build_seed"),
        "concepts": described(zoo),
        **({"validation": described(validation)} if validation else {}),
    }
    return STAGE.spec(config, inputs, "denoiser")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """denoiser.json and denoiser.safetensors: the averaged weights."""
    from experiments.training.best import BestOnValidation
    from experiments.training.fit import fit, require_finite, tracked
    from experiments.training.payloads import load_blocks, optimizer, read_text, save_net, seeded
    from weightgen.batches import Texts
    from weightgen.diffusion import DENOISERS
    from weightgen.diffusion.sampler import Sampler, make_scheduler
    from weightgen.diffusion.training import BlockDiffusionModule
    from weightgen.generation.block_generator import BlockGenerator
    from weightgen.weights.batches import block_batches, set_batches

    budget, seed = config["budget"], config["seed"]
    zoo, layout, normalizer = load_blocks(inputs.one("blocks").folder)
    text, rows = read_text(inputs.all("text")[0]), zoo_rows(config, zoo)
    valid, single = layout.valid(), budget["blocks"]
    batches = (block_batches if single else set_batches)(
        normalizer.normalize(zoo.blocks) * valid,
        valid,
        Texts(text.tokens, text.mask, rows),
        single or budget["concepts"],
        seed=seed,
        steps=budget["steps"],
    )
    watched = held_out(config, inputs, layout, normalizer)
    best = [BestOnValidation(watched, budget["validate_every"])] if watched else []
    size = {"block_size": layout.size, "blocks": layout.blocks, "text_dim": text.tokens.shape[-1]}
    description = {**config["denoiser"], **size}
    module = BlockDiffusionModule(
        seeded(seed, DENOISERS, description),
        make_scheduler(config["prediction"]),
        optimizer(budget["optimizer"]),
        ema_decay=budget["ema_decay"],
        warmup_steps=budget["warmup_steps"],
        decay_steps=budget["steps"],
        terminal_fraction=budget["terminal_fraction"],
        seed=seed,
    )
    with tracked(runtime, folder) as loggers:
        seconds = fit(runtime, module, batches, folder, loggers, best, label="denoiser", parallel="denoiser")
        require_finite(module, "budget.denoiser")
        averaged = seeded(seed, DENOISERS, description)
        averaged.load_state_dict(best[0].weights if best else module.averaged_state())
        sampler = Sampler(make_scheduler(config["prediction"]))
        generator = BlockGenerator(averaged.eval(), sampler, layout, normalizer)
        l1 = score_own(config, inputs, runtime, generator, text, zoo, loggers)
    save_net(folder, "denoiser", description, averaged.state_dict())
    parameters = sum(p.numel() for p in averaged.parameters())
    kept = {"kept_step": best[0].step, "validation_loss": best[0].loss} if best else {}
    return {"seconds": seconds, "steps": budget["steps"], "parameters": parameters, "train_l1": l1, **kept}


STAGE = Stage("denoiser", 1, "denoiser", build, shared=True)


def held_out(
    config: Mapping[str, Any], inputs: Inputs, layout: "BlockLayout", normalizer: "Normalizer"
) -> "dict[str, Tensor] | None":
    """The validation concepts' own weights with their prompts, as a batch; None where nobody looks at them.

    Raises WeightgenError if the LoRAs of all of them diverged.
    """
    import torch

    from experiments.training.payloads import read_text, rows_of, tensors
    from weightgen.errors import WeightgenError
    from weightgen.weights.batches import whole_sets

    if not config.get("validation"):
        return None
    text = read_text(inputs.all("text")[1])
    rows = [row[0] for row in rows_of(config["validation"])]
    kept = [(row, lora) for row, lora in zip(rows, inputs.all("lora"), strict=True) if not lora.metrics["diverged"]]
    if not kept:
        raise WeightgenError("all validation concepts' LoRAs diverged: lower budget.lora.optimizer.lr")
    sets = torch.stack([layout.to_blocks(tensors(lora.folder / "lora.safetensors")) for _, lora in kept])
    words = text.select([row for row, _ in kept])
    valid = layout.valid()
    return whole_sets(normalizer.normalize(sets) * valid, valid) | {"tokens": words.tokens, "text_mask": words.mask}


def zoo_rows(config: Mapping[str, Any], zoo: "Zoo") -> list[list[int]]:
    """Rows of the text of the key's concepts for each of the zoo's, which lacks those whose LoRA diverged."""
    from experiments.training.payloads import rows_of

    names = [concept["name"] for concept in config["concepts"]]
    rows = dict(zip(names, rows_of(config["concepts"]), strict=True))
    return [rows[entry.concept] for entry in zoo.entries]


def block_generator(inputs: Inputs, steps: int) -> "BlockGenerator":
    """The weight generator of finished `blocks` and `denoiser` or `function` artifacts. steps: of its sampler."""
    from experiments.training.payloads import load_blocks, load_net
    from weightgen.diffusion import DENOISERS
    from weightgen.diffusion.sampler import Sampler, make_scheduler
    from weightgen.generation.block_generator import BlockGenerator

    network = inputs.one("denoiser", "function")
    _, layout, normalizer = load_blocks(inputs.one("blocks").folder)
    sampler = Sampler(make_scheduler(network.config["prediction"]), steps=steps)
    return BlockGenerator(load_net(DENOISERS, network.folder, "denoiser"), sampler, layout, normalizer)


def score_own(
    config: Mapping[str, Any],
    inputs: Inputs,
    runtime: Runtime,
    generate: "BlockGenerator",
    text: "TextFeatures",
    zoo: "Zoo",
    loggers: Sequence["Logger"],
) -> float | None:
    """Images and scores of generated translators for a few TRAIN concepts: whether the denoiser learned its own zoo.

    text: as `zoo_rows` counts its rows. -> their mean L1 in [0, 1] on validation photos; None where none of them has pairs.
    """
    from functools import partial

    from experiments.training.fit import log_images, log_scores
    from experiments.training.payloads import image_metrics, load_base, pair_tensors, reference
    from weightgen.evaluation.curves import mean
    from weightgen.rng import stream
    from weightgen.slices import spread
    from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state
    from weightgen.translation.pictures import translate

    by_prompt = {pairs.config["prompt"]: pairs for pairs in inputs.all("pairs")}
    rows = zip(zoo.entries, zoo_rows(config, zoo), strict=True)
    shown = [(entry, row[0]) for entry, row in rows if entry.prompt in by_prompt][:SHOWN]
    if not shown:  # none has pairs, or the LoRAs of all diverged
        return None
    text = text.select([row for _, row in shown])
    model = inject_lora(load_base(inputs.one("base")), LoraSpec(**config["lora"]))
    states = generate.layout.from_blocks(generate(text, stream(0, "denoiser/shown")))
    metrics, scores, step = image_metrics(runtime.metrics, runtime.device), [], config["budget"]["steps"]
    for i, (entry, _) in enumerate(shown):
        load_lora_state(model, {name: weights[i] for name, weights in states.items()})
        pairs, prompt = by_prompt[entry.prompt], text.select([i])
        photos, targets = (side["validation"] for side in pair_tensors(pairs, inputs.maybe("photos")))
        outputs = spread(partial(translate, model, tokens=prompt.tokens, text_mask=prompt.mask), photos)
        scores.append(metrics(outputs, reference(runtime.metrics, pairs, "validation", runtime.device)))
        panels = {f"{entry.concept}/target": targets[:8], f"{entry.concept}/output": outputs[:8]}
        log_images(loggers, step, panels)
    l1 = sum(score["l1"] for score in scores) / len(scores)
    log_scores(loggers, step, {"fid": mean((s["fid"] for s in scores), "fid"), "l1": l1}, metrics.features.name)
    return l1

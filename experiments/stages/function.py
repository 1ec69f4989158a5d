"""Stage 5b: the denoiser trained on by what its weights do (budget.function). `make denoiser` runs it where steps > 0."""

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
    from torch import Tensor

    from weightgen.batches import Batches
    from weightgen.weights.zoo import Zoo


def spec(options: Options, concepts: Sequence[Concept], inputs: Sequence[Spec]) -> Spec:
    """inputs: the denoiser, the blocks, the base, the text and pairs of `concepts`, the shared photos."""
    config = {
        "prediction": options("budget.denoiser.prediction"),
        "budget": options("budget.function"),
        "lora": options("lora"),
        "seed": options("build_seed"),
        **shown(options, concepts),
    }
    return STAGE.spec(config, inputs, "function")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """denoiser.json and denoiser.safetensors: the averaged weights after function-space training."""
    from experiments.stages.denoiser import score_own
    from experiments.training.fit import fit, require_finite, tracked
    from experiments.training.payloads import load_base, load_blocks, optimizer, read_text, save_net, seeded, tensors
    from weightgen.diffusion import DENOISERS
    from weightgen.diffusion.sampler import Sampler, make_scheduler
    from weightgen.evaluation.features import EfficientNetLite2Features
    from weightgen.evaluation.metrics import PerceptualLoss
    from weightgen.files import read_json
    from weightgen.generation.block_generator import BlockGenerator
    from weightgen.generation.function_space import FunctionSpaceModule
    from weightgen.translation.lora import LoraSpec
    from weightgen.translation.stacked_lora import StackedLora

    budget, seed, start_from = config["budget"], config["seed"], inputs.one("denoiser").folder
    zoo, layout, normalizer = load_blocks(inputs.one("blocks").folder)
    own = normalizer.normalize(zoo.blocks) * layout.valid()
    batches = function_batches(config, inputs, zoo, own, budget["photos"])
    description = read_json(start_from / "denoiser.json")
    denoiser = seeded(seed, DENOISERS, description)
    if budget["start"] == "denoiser":
        denoiser.load_state_dict(tensors(start_from / "denoiser.safetensors"))
    scheduler = make_scheduler(config["prediction"])
    module = FunctionSpaceModule(
        denoiser,
        scheduler,
        StackedLora(load_base(inputs.one("base")), LoraSpec(**config["lora"])),
        layout,
        normalizer,
        optimizer(budget["optimizer"]),
        weight_loss=budget["weight_loss"],
        perceptual=PerceptualLoss(EfficientNetLite2Features()) if budget["perceptual"] else None,
        perceptual_weight=budget["perceptual"],
        ema_decay=budget["ema_decay"],
        warmup_steps=budget["warmup_steps"],
        decay_steps=budget["steps"],
        seed=seed,
    )
    with tracked(runtime, folder) as loggers:
        seconds = fit(runtime, module, batches, folder, loggers, label="function", parallel="denoiser")
        require_finite(module, "budget.function")
        averaged = seeded(seed, DENOISERS, description)
        averaged.load_state_dict(module.averaged_state())
        generator = BlockGenerator(averaged.eval(), Sampler(scheduler), layout, normalizer)
        l1 = score_own(config, inputs, runtime, generator, read_text(inputs.one("text")), zoo, loggers)
    save_net(folder, "denoiser", description, averaged.state_dict())
    return {"seconds": seconds, "steps": budget["steps"], "train_l1": l1}


STAGE = Stage("function", 1, "denoiser", build, shared=True)


def shown(options: Options, concepts: Sequence[Concept]) -> dict[str, Any]:
    """The part of a key that says whose pairs training through the base reads."""
    return {"concepts": described(concepts), **({"beyond": True} if options("zoo").get("beyond") else {})}


def function_batches(config: Mapping[str, Any], inputs: Inputs, zoo: "Zoo", own: "Tensor", photos: int) -> "Batches":
    """Batches of the budget's number of concepts with `photos` pairs each: of the zoo, or of all in the key (zoo.beyond).

    own: (N, K, D), what the batches carry of each set of the zoo; they carry zeros of a concept without one.
    """
    import torch

    from experiments.training.payloads import TrainPairs, read_text, rows_of, train_sources
    from weightgen.batches import Pairs, Texts, concept_batches

    budget, text, shared = config["budget"], read_text(inputs.one("text")), inputs.maybe("photos")
    sets = {entry.concept: own[row] for row, entry in enumerate(zoo.entries)}
    by_prompt = {pairs.config["prompt"]: pairs for pairs in inputs.all("pairs")}
    read = [
        (by_prompt[concept["prompt"]], rows, sets.get(concept["name"], torch.zeros_like(own[0])))
        for concept, rows in zip(config["concepts"], rows_of(config["concepts"]), strict=True)
        if concept["name"] in sets or config.get("beyond")
    ]
    pairs, rows, own_sets = zip(*read, strict=True)
    return concept_batches(
        Pairs(train_sources(pairs, shared), list(TrainPairs(pairs, shared, 1))),
        Texts(text.tokens, text.mask, list(rows)),
        torch.stack(own_sets),
        budget["concepts"],
        photos,
        seed=config["seed"],
        steps=budget["steps"],
    )

"""Stage 5c: the refiner behind `init=guided`, which reads gradients of a few pairs. Built where a method needs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from experiments.stages.function import shown
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept

if TYPE_CHECKING:
    from torch import nn

    from weightgen.generation.guided import Guide


def spec(options: Options, concepts: Sequence[Concept], inputs: Sequence[Spec]) -> Spec:
    """inputs: the generator (denoiser or function), the blocks, the base, the text and pairs of `concepts`, the shared
    photos."""
    config = {
        **options.by_content("refiner", "sampler"),
        "budget": options("budget.guide"),
        "lora": options("lora"),
        "seed": options("build_seed"),
        **shown(options, concepts),
    }
    return STAGE.spec(config, inputs, "guide")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """refiner.json and refiner.safetensors: its averaged weights."""
    from experiments.stages.denoiser import block_generator
    from experiments.stages.function import function_batches
    from experiments.training.fit import fit, require_finite, tracked
    from experiments.training.payloads import load_base, load_blocks, optimizer, read_text, save_net, seeded
    from weightgen.generation import REFINERS
    from weightgen.generation.guided_training import GuidedModule
    from weightgen.translation.lora import LoraSpec, inject_lora, lora_state

    budget, seed = config["budget"], config["seed"]
    zoo, layout, _ = load_blocks(inputs.one("blocks").folder)
    batches = function_batches(config, inputs, zoo, zoo.blocks, max(budget["pairs"]) + budget["query"])
    text_dim = read_text(inputs.one("text")).tokens.shape[-1]
    size = {"block_size": layout.size, "blocks": layout.blocks, "text_dim": text_dim}
    description = {**config["refiner"], **size}
    zero = inject_lora(load_base(inputs.one("base")), LoraSpec(**config["lora"]))
    module = GuidedModule(
        guide_around(seeded(seed, REFINERS, description), inputs, config),
        block_generator(inputs, config["sampler"]["steps"]),
        layout.to_blocks(lora_state(zero)),
        optimizer(budget["optimizer"]),
        pairs=budget["pairs"],
        rounds=budget["rounds"],
        query=budget["query"],
        foreign=budget["foreign"],
        ema_decay=budget["ema_decay"],
        warmup_steps=budget["warmup_steps"],
        decay_steps=budget["steps"],
        seed=seed,
    )
    with tracked(runtime, folder) as loggers:
        seconds = fit(runtime, module, batches, folder, loggers, label="guide")
        require_finite(module, "budget.guide")
    save_net(folder, "refiner", description, module.averaged.state_dict())
    parameters = sum(p.numel() for p in module.averaged.parameters())
    return {"seconds": seconds, "steps": budget["steps"], "parameters": parameters}


STAGE = Stage("guide", 1, "denoiser", build)


def guide_around(refiner: "nn.Module", inputs: Inputs, config: Mapping[str, Any]) -> "Guide":
    """A refiner with the base and the layout that it looks through; config: its LoRA."""
    from experiments.training.payloads import load_base, load_blocks
    from weightgen.generation.guided import Guide
    from weightgen.translation.lora import LoraSpec
    from weightgen.translation.stacked_lora import StackedLora

    _, layout, normalizer = load_blocks(inputs.one("blocks").folder)
    base = StackedLora(load_base(inputs.one("base")), LoraSpec(**config["lora"]))
    return Guide(refiner, base, layout, normalizer)


def load_guide(inputs: Inputs, config: Mapping[str, Any]) -> "Guide":
    """The trained refiner of a finished `guide` artifact, frozen; config: see `guide_around`."""
    from experiments.training.payloads import load_net
    from weightgen.generation import REFINERS

    refiner = load_net(REFINERS, inputs.one("guide").folder, "refiner")
    return guide_around(refiner, inputs, config).eval().requires_grad_(False)

"""Stage 6: initial LoRA weights of unseen concepts, by any method. `make init`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Artifact, Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.choices import make
from weightgen.data.concepts.concept import Concept
from weightgen.errors import WeightgenError
from weightgen.inits import INITS
from weightgen.inits.base import Init

if TYPE_CHECKING:
    from torch import Tensor

    from weightgen.generation.through_base import ThroughBase
    from weightgen.inits.base import Validation, WeightSpace
    from weightgen.text.encoders import TextFeatures
    from weightgen.weights.blocks import BlockLayout
    from weightgen.weights.zoo import Zoo

JUDGED = 16  # validation photos of a concept by which a choice is made
BLOCK = 256  # of inits that read no zoo: how they cut weights does not matter, they treat each by itself


def fit_spec(
    options: Options,
    method: Mapping[str, Any],
    concepts: Sequence[Concept],
    pairs: Mapping[str, Any],
    inputs: Sequence[Spec],
) -> Spec:
    """What a method learns from the zoo, and the freedom that it chooses on validation `concepts`.

    pairs: how many of them a concept has, where that is not all. inputs: what the init's weights come from, then the text of
    the validation concepts, their pairs and the shared photos.
    """
    needs = init_class(method).needs
    config = {
        "init": method,
        "lora": options("lora"),
        "seed": options("build_seed"),
        "validation": [concept.prompt for concept in concepts],
        **({"sampler": options("sampler")} if "generator" in needs else {}),
        **(pairs if "pairs" in needs else {}),
    }
    return FIT.spec(config, inputs, f"fit {method['name']}", method["name"])


def build_fit(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """fit.safetensors: what the init's `fit` returns."""
    import torch

    from weightgen.files import save_tensors

    init = new_init(config["init"])
    device = device_of(init, runtime)
    space, layout = weight_space(config, inputs, init.needs - {"pairs", "validation"}, None, device)
    start = time.perf_counter()
    with torch.no_grad():
        watched = validation(config, inputs, init.needs, layout, device)
        fitted = init.fit(replace(space, validation=watched), config["seed"])
    save_tensors(folder / "fit.safetensors", fitted)
    scalars = {name: float(value) for name, value in fitted.items() if value.numel() == 1}
    return {"seconds": time.perf_counter() - start, **scalars}


def validation(
    config: Mapping[str, Any], inputs: Inputs, needs: frozenset[str], layout: "BlockLayout", device: str
) -> "Validation | None":
    """The validation concepts that an init of these needs may look at; None where there are none."""
    import torch

    from experiments.stages.photos import chosen_rows
    from experiments.training.payloads import pair_tensors, read_text, training_pairs
    from weightgen.generation.pairs_loss import Evidence
    from weightgen.inits.base import Validation

    if not config["validation"]:
        return None
    text, shared = read_text(inputs.all("text")[-1]), inputs.maybe("photos")
    texts = [text.select([i]).to(device) for i in range(len(text))]
    through, judged, seen = through_base(config, inputs, layout).to(device), [], []
    for words, pairs in zip(texts, inputs.all("pairs"), strict=True):
        sides = (side["validation"][:JUDGED].to(device) for side in pair_tensors(pairs, shared))
        judged.append(Evidence(*sides, through, words))
        if "pairs" in needs:
            some = training_pairs(pairs, shared, chosen_rows(inputs), config["seed"], config.get("pairs"))
            seen.append(Evidence(*(side.to(device) for side in some), through, words))

    def error(sets: "Tensor") -> "Tensor":
        return torch.stack([photos.loss(blocks) for photos, blocks in zip(judged, sets, strict=True)])

    return Validation(texts, error, seen)


def spec(
    options: Options,
    method: Mapping[str, Any],
    concept: Concept,
    prompt: str,
    seed: int,
    pairs: Mapping[str, Any],
    inputs: Sequence[Spec],
) -> Spec:
    """prompt: what the init is told, the concept's own but for a control. pairs: how many of them a new concept has, where
    that is not all. inputs: what the init needs, with the text of the zoo's prompts and the shared photos if any."""
    config = {
        **options.by_content("text_encoder"),
        "init": method,
        "lora": options("lora"),
        "prompt": prompt,
        "seed": seed,
        **({"sampler": options("sampler")} if "generator" in init_class(method).needs else {}),
        **(
            {"accelerator": "gpu"} if options("strategy.trainer.accelerator") == "gpu" else {}
        ),  # whose seconds these are
        **pairs,
    }
    return STAGE.spec(config, inputs, f"init {method['name']} {concept.name} {seed}", (method["name"], concept, seed))


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """lora.safetensors; metrics.json has the seconds it took, text encoding included, loading of models not: by the wall's
    clock, and by this process's CPU time, which other load on the machine does not stretch."""
    import torch

    from experiments.training.payloads import text_encoder
    from weightgen.files import save_tensors
    from weightgen.rng import stream

    init, encoder = new_init(config["init"]), text_encoder(runtime.local(config["text_encoder"]))
    device = device_of(init, runtime)
    space, layout = weight_space(config, inputs, init.needs, encoder.encode([config["prompt"]]), device)
    start, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        text = encoder.encode([config["prompt"]]).to(device)
        blocks = init(space, text, stream(config["seed"], "init/noise")).cpu()
    spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    if not bool(torch.isfinite(blocks).all()):
        name, prompt = config["init"]["name"], config["prompt"]
        raise WeightgenError(f"{name} produced non-finite weights for {prompt!r}: train the denoiser anew")
    save_tensors(folder / "lora.safetensors", layout.from_blocks(blocks))
    return spent


FIT = Stage("fit", 1, "init", build_fit)
STAGE = Stage("init", 1, "init", build, per_concept=True)


def init_class(method: Mapping[str, Any]) -> type[Init]:
    """The class of weightgen.inits behind a method: says what it `needs`."""
    return INITS.find(method["kind"])


def device_of(init: Init, runtime: Runtime) -> str:
    """Where it computes: those that run a net do so where nets run, the others on the CPU."""
    return runtime.device if init.needs & {"generator", "pairs"} else "cpu"


def new_init(method: Mapping[str, Any]) -> Any:
    arguments = {name: value for name, value in method.items() if name != "kind"}
    return make(INITS, arguments | {"name": method["kind"]})


def weight_space(
    config: Mapping[str, Any], inputs: Inputs, needs: frozenset[str], text: "TextFeatures | None", device: str = "cpu"
) -> "tuple[WeightSpace, BlockLayout]":
    """What an init of these needs may look at, on `device`, and how it cuts weights. text: of the prompt, where pairs are
    read."""
    from experiments.stages.denoiser import block_generator
    from experiments.stages.guide import load_guide
    from experiments.stages.photos import chosen_rows
    from experiments.training.payloads import load_blocks, read_text, tensors, training_pairs
    from weightgen.generation.pairs_loss import Evidence
    from weightgen.inits.base import WeightSpace

    given, layout = {}, None
    if blocks := inputs.maybe("blocks"):
        zoo, layout, _ = load_blocks(blocks.folder)
    zero, layout = lora_at_zero(config, inputs, layout)
    if "zoo" in needs:
        pooled = zoo_pooled(inputs, zoo, read_text(inputs.all("text")[0]))
        given |= {"blocks": zoo.blocks.to(device), "pooled": pooled.to(device)}
    if "validation" in needs:
        given["fitted"] = tensors(inputs.one("fit").folder / "fit.safetensors")
    if "generator" in needs:
        given["generator"] = block_generator(inputs, config["sampler"]["steps"])
        given["generator"].denoiser.to(device)
    if "guide" in needs:
        given["guide"] = load_guide(inputs, config).to(device)
    if "own" in needs:
        given["own"] = layout.to_blocks(trained_state(inputs.one("lora"))).to(device)
    if "pairs" in needs:
        pairs = training_pairs(
            inputs.one("pairs"), inputs.maybe("photos"), chosen_rows(inputs), config["seed"], config.get("pairs")
        )
        through = given.get("guide") or through_base(config, inputs, layout).to(device)
        given["evidence"] = Evidence(*(side.to(device) for side in pairs), through, text.to(device))
    return WeightSpace(zero.to(device), **given), layout


def lora_at_zero(config: Mapping[str, Any], inputs: Inputs, layout: "BlockLayout | None") -> tuple:
    """Blocks (K, D) of the base's LoRA as it is injected, and the layout; None: one of its own."""
    from experiments.training.payloads import load_base
    from weightgen.translation.lora import LoraSpec, inject_lora, lora_state
    from weightgen.weights.blocks import BlockLayout

    state = lora_state(inject_lora(load_base(inputs.one("base")), LoraSpec(**config["lora"])))
    layout = layout or BlockLayout({name: tuple(weight.shape) for name, weight in state.items()}, BLOCK)
    return layout.to_blocks(state), layout


def through_base(config: Mapping[str, Any], inputs: Inputs, layout: "BlockLayout") -> "ThroughBase":
    """The frozen base with LoRAs given as blocks; config: its LoRA."""
    from experiments.training.payloads import load_base
    from weightgen.generation.through_base import ThroughBase
    from weightgen.translation.lora import LoraSpec
    from weightgen.translation.stacked_lora import StackedLora

    return ThroughBase(StackedLora(load_base(inputs.one("base")), LoraSpec(**config["lora"])), layout)


def zoo_pooled(inputs: Inputs, zoo: "Zoo", text: "TextFeatures") -> "Tensor":
    """Pooled features (N, E') of the zoo's prompts; text: of all prompts that the blocks were asked for."""
    prompts = [concept["prompt"] for concept in inputs.one("blocks").config["concepts"]]
    return text.pooled[[prompts.index(entry.prompt) for entry in zoo.entries]]


def trained_state(lora: Artifact) -> "dict[str, Tensor]":
    """Raises WeightgenError if it diverged."""
    from experiments.training.payloads import tensors

    if lora.metrics["diverged"]:
        raise WeightgenError(f"the {lora.reference['label']} diverged: lower budget.lora.optimizer.lr")
    return tensors(lora.folder / "lora.safetensors")

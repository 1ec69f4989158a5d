"""Stage 3: one LoRA a concept: the zoo of train concepts, and any other concept's own. `make loras`.

With zoo=manifest the zoo's LoRAs exist already: peft adapter folders, read by the stage `adapter`.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept
from weightgen.data.concepts.manifest import WEIGHTS, Manifest, read_manifest
from weightgen.files import content_hash

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from experiments.training.lanes import Training

DIVERGED = 1.5  # times the L1 that the base scores with LoRA at zero


def spec(options: Options, concept: Concept, inputs: Sequence[Spec]) -> Spec:
    """inputs: the base, the concept's text and pairs, and the shared photos. A train concept's LoRA is of the zoo, any
    other's is longer trained, what starts are compared with."""
    given = options("budget.lora")
    config = {
        **options.by_content("discriminator"),
        "lora": options("lora"),
        "budget": {name: value for name, value in given.items() if not name.startswith("steps")},
        "steps": given["steps" if concept.split == "train" else "steps_own"],
        "seed": options("build_seed"),
    }
    return STAGE.spec(config, inputs, f"lora {concept.name}", concept)


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """lora.safetensors; metrics.json says `diverged` where the weights must not be used (then there are none)."""
    from experiments.training.fit import fit, tracked

    with tracked(runtime, folder) as loggers:
        trained = training(config, inputs, runtime)
        seconds = fit(runtime, trained.module, trained.batches, folder, loggers, bar=False)
        return publish(config, inputs, folder, runtime, loggers, trained, seconds)


def training(config: Mapping[str, Any], inputs: Inputs, runtime: Runtime) -> "Training":
    """One concept's LoRA and what it learns from; experiments.pipeline.fleet trains many of them at once."""
    from experiments.training.gan import translator_module
    from experiments.training.lanes import Training
    from experiments.training.payloads import load_base, pair_tensors, read_text
    from weightgen.batches import PairBatches, Pairs, Texts
    from weightgen.translation.lora import LoraSpec, inject_lora

    steps, concept, text = config["steps"], inputs.one("pairs"), read_text(inputs.one("text"))
    photos, targets = pair_tensors(concept, inputs.maybe("photos"))
    pairs, texts = Pairs(photos["train"], [targets["train"]]), Texts(text.tokens, text.mask, [list(range(len(text)))])
    batches = PairBatches(pairs, texts, config["budget"]["batch_size"], seed=config["seed"], steps=steps)
    lora = LoraSpec(**config["lora"]).starting(concept.config["prompt"])
    return Training(translator_module(inject_lora(load_base(inputs.one("base")), lora), config, steps), batches)


def publish(
    config: Mapping[str, Any],
    inputs: Inputs,
    folder: Path,
    runtime: Runtime,
    loggers: Sequence["Logger"],
    trained: "Training",
    seconds: float,
) -> dict[str, Any]:
    """Score and log a trained LoRA on the validation photos and save it, unless it diverged; -> metrics.json's content.

    Photos are translated on the device where its module lies.
    """
    import torch
    from torch.nn.functional import l1_loss

    from experiments.training.fit import log_images, log_scores
    from experiments.training.payloads import image_metrics, load_base, pair_tensors, read_text, reference
    from weightgen.errors import NotFinite
    from weightgen.files import save_tensors
    from weightgen.translation.lora import LoraSpec, inject_lora, load_lora_state, lora_state
    from weightgen.translation.pictures import translate

    pairs, prompt = inputs.one("pairs"), read_text(inputs.one("text")).select([0])
    photos, targets = (side["validation"] for side in pair_tensors(pairs, inputs.maybe("photos")))
    lora = LoraSpec(**config["lora"]).starting(pairs.config["prompt"])
    model = inject_lora(load_base(inputs.one("base")), lora).to(next(trained.module.parameters()).device)
    state, steps = lora_state(trained.module.generator), config["steps"]
    zero = translate(model, photos, prompt.tokens, prompt.mask)
    l1_zero = float(l1_loss(zero.float(), targets.float())) / 255
    record = {"l1_zero": l1_zero, "steps": steps, "seconds": seconds}
    if not all(bool(weight.isfinite().all()) for weight in state.values()):
        return {"diverged": True, "unchanged": False, **record}
    try:
        outputs = translate(load_lora_state(model, state), photos, prompt.tokens, prompt.mask)
    except NotFinite:
        return {"diverged": True, "unchanged": False, **record}
    metrics = image_metrics(runtime.metrics, runtime.device)
    scores = metrics(outputs, reference(runtime.metrics, pairs, "validation", runtime.device))
    log_scores(loggers, steps, scores, metrics.features.name)
    log_images(loggers, steps, {"source": photos[:8], "target": targets[:8], "output": outputs[:8]})
    diverged = not math.isfinite(scores["l1"]) or scores["l1"] > DIVERGED * l1_zero
    if not diverged:
        save_tensors(folder / "lora.safetensors", state)
    unchanged = torch.equal(outputs, zero)  # not one grey level of one validation photo
    return {"l1": scores["l1"], "diverged": diverged, "unchanged": unchanged, **record}


STAGE = Stage("lora", 1, "loras", build, per_concept=True)


def adapter_spec(options: Options, manifest: Manifest, concept: Concept, base: Spec) -> Spec:
    adapter = manifest.folders[concept.prompt]
    config = {
        "adapter_sha256": content_hash(adapter, [adapter / file for file in WEIGHTS]),
        "prompt": concept.prompt,
        "lora": options("lora"),
        "seed": options("build_seed"),
        "steps": 0,
    }
    return ADAPTER.spec(config, [base], f"adapter {concept.name}", concept)


def build_adapter(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """lora.safetensors: the adapter's factors as this project's LoRA has them. Raises WeightgenError where it is of another
    base, has other ranks, or an A of its own where lora.train=b says that all share one."""
    from experiments.training.payloads import load_base
    from weightgen.errors import WeightgenError
    from weightgen.files import save_tensors
    from weightgen.generation.saved import loading, weights_hash
    from weightgen.translation.adapter import load_adapter, read_adapter
    from weightgen.translation.lora import LoraSpec, inject_lora, lora_state

    given = read_once(runtime.places["zoo"]["file"]).folders[config["prompt"]]
    base = load_base(inputs.one("base"))
    with loading(given, "", "adapter"):
        adapter = read_adapter(given)
        if adapter.base and adapter.base != weights_hash(base):
            raise WeightgenError("this LoRA says that it is of another base; name that one in the manifest")
        model = inject_lora(base, LoraSpec(**config["lora"]))
        state = lora_state(load_adapter(model, adapter, one_start=True))
    unchanged = not any(bool(weight.any()) for name, weight in state.items() if name.endswith(".B"))
    if not unchanged:
        save_tensors(folder / "lora.safetensors", state)
    return {"diverged": False, "unchanged": unchanged, "seconds": 0.0}


ADAPTER = Stage("adapter", 1, "loras", build_adapter, per_concept=True, models=False)
read_once = lru_cache(maxsize=4)(read_manifest)  # builders of one process read a list once


def summarise(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """How many LoRAs there are, how many beat the base at zero LoRA on validation photos, and which diverged.

    metrics: metrics.json's content by the concept's name.
    """
    said = {"diverged": "excluded as diverged", "unchanged": "excluded as unchanged by their training"}
    lost = {why: [name for name, row in metrics.items() if row.get(why)] for why in said}
    excluded = "".join(f"; {said[why]}: {', '.join(names)}" for why, names in lost.items() if names)
    scored = [row for row in metrics.values() if usable(row) and "l1" in row]
    if not scored:
        return f"{len(metrics)} LoRAs, not scored here{excluded}"
    better = sum(row["l1"] < row["l1_zero"] for row in scored)
    return f"{better} of {len(metrics)} LoRAs beat the base at zero LoRA on validation L1{excluded}"


def usable(metrics: Mapping[str, Any]) -> bool:
    """Whether a LoRA may be in a zoo: it did not diverge, and its training changed something."""
    return not metrics["diverged"] and not metrics.get("unchanged")

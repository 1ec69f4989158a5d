"""Stage 2: the base translator on representative train concepts (E2GAN, arXiv 2401.06127). `make base`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from experiments.stages import lora, photos
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept
from weightgen.data.concepts.manifest import Manifest
from weightgen.files import content_hash, read_json

GIVEN = "manifest"  # what a base that nobody trained here "sees"
SHOWN = 4  # concepts whose images are logged and scored


def spec(options: Options, concepts: Sequence[Concept], inputs: Sequence[Spec]) -> Spec:
    """inputs: the text of all `concepts` and their pairs, since the builder chooses representative ones among them; the
    photos that they share, and a subset of those where one is wanted."""
    config = {
        **options.by_content("translator", "discriminator"),
        "budget": photos.subset_budget(options, options("budget.base")),
        **photos.subset_key(options),
        "sees": options("base"),
        "seed": options("build_seed"),
        "concepts": described(concepts),
    }
    return STAGE.spec(config, inputs, f"base {options('base')}")


def described(concepts: Sequence[Concept]) -> list[dict[str, Any]]:
    """Concepts as keys hold them, in the order of their texts' rows."""
    return [{"name": c.name, "prompt": c.prompt, "paraphrases": list(c.paraphrases)} for c in concepts]


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """generator and discriminator (.json, .safetensors), concepts.json: which train concepts it saw."""
    if config["sees"] == GIVEN:
        return _given(folder, runtime)
    from functools import partial

    from experiments.training.fit import fit, log_images, log_scores, require_finite, tracked
    from experiments.training.gan import translator_module
    from experiments.training.payloads import (
        image_metrics,
        pair_tensors,
        read_text,
        reference,
        rows_of,
        save_net,
        seeded,
        train_sources,
    )
    from weightgen.batches import PairBatches, Pairs, Texts
    from weightgen.data.representative import representative
    from weightgen.evaluation.curves import mean
    from weightgen.files import write_json
    from weightgen.slices import spread
    from weightgen.translation.nets import TRANSLATORS

    budget, seed = config["budget"], config["seed"]
    text, rows = read_text(inputs.one("text")), rows_of(config["concepts"])
    chosen = list(range(len(rows)))
    if config["sees"] == "representative":
        count = photos.subset_concepts(config, len(rows))
        chosen = representative(text.pooled[[row[0] for row in rows]], count, seed)
    names = [config["concepts"][i]["name"] for i in chosen]
    pairs, shared = [inputs.all("pairs")[i] for i in chosen], inputs.maybe("photos")
    targets = [pair_tensors(concept, shared)[1]["train"] for concept in pairs]
    sources = train_sources(pairs, shared)
    if (used := photos.chosen_rows(inputs)) is not None:
        sources, targets = sources[used], [target[used] for target in targets]
    texts = Texts(text.tokens, text.mask, [rows[i] for i in chosen])
    batches = PairBatches(Pairs(sources, targets), texts, budget["batch_size"], seed=seed, steps=budget["steps"])
    description = {**config["translator"], "text_dim": text.tokens.shape[-1]}
    module = translator_module(seeded(seed, TRANSLATORS, description), config, budget["steps"])
    with tracked(runtime, folder, tags=names[:8]) as loggers:
        seconds = fit(runtime, module, batches, folder, loggers, label=f"base ({len(pairs)} concepts)", parallel="base")
        require_finite(module, "budget.base")
        metrics, scores = image_metrics(runtime.metrics, runtime.device), []
        for i, concept in enumerate(pairs[:SHOWN]):
            prompt = text.select([rows[chosen[i]][0]])
            images, target = (side["validation"] for side in pair_tensors(concept, shared))
            outputs = spread(partial(module.translate, tokens=prompt.tokens, text_mask=prompt.mask), images)
            scores.append(metrics(outputs, reference(runtime.metrics, concept, "validation", runtime.device)))
            panels = {f"{names[i]}/target": target[:8], f"{names[i]}/output": outputs[:8]}
            log_images(loggers, budget["steps"], panels)
        means = {name: mean((score[name] for score in scores), name) for name in scores[0]}
        log_scores(loggers, budget["steps"], means, metrics.features.name)
    save_net(folder, "generator", description, module.generator.state_dict())
    if module.discriminator is not None:
        save_net(folder, "discriminator", config["discriminator"], module.discriminator.state_dict())
    write_json(folder / "concepts.json", names)
    write_json(folder / "inputs.json", [concept.reference for concept in pairs])
    parameters = sum(p.numel() for p in module.generator.parameters())
    counts = {"steps": budget["steps"], "concepts": len(pairs), "parameters": parameters}
    return {"l1": means["l1"], "seconds": seconds, **counts}


STAGE = Stage("base", 1, "base", build, shared=True)


def given_spec(manifest: Manifest) -> Spec:
    """The base of LoRAs that exist, where zoo=manifest says which."""
    told = read_json(manifest.base / "generator.json", "give the folder of a weight generator or of a base artifact")
    # the base alone: the rest of a generator's folder, its card and denoiser, may change
    config = {"sees": GIVEN, "base_sha256": content_hash(manifest.weights), "translator": told.get("translator", told)}
    return STAGE.spec(config, [], f"base {GIVEN}")


def _given(folder: Path, runtime: Runtime) -> dict[str, Any]:
    """generator (.json, .safetensors) as the manifest's base has it."""
    from experiments.training.payloads import save_net
    from weightgen.files import write_json
    from weightgen.generation.saved import load_base_of

    net, description = load_base_of(lora.read_once(runtime.places["zoo"]["file"]).base)
    save_net(folder, "generator", description, net.state_dict())
    write_json(folder / "concepts.json", [])
    return {"seconds": 0.0, "parameters": sum(p.numel() for p in net.parameters())}

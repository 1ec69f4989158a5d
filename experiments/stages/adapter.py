"""Stage 3, of LoRAs that exist (zoo=manifest): each a peft adapter folder, on a base that exists. `make loras`."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept
from weightgen.data.concepts.manifest import WEIGHTS, Manifest, read_manifest
from weightgen.files import content_hash

GIVEN = "manifest"  # what a base that nobody trained here "sees"
read_once = lru_cache(maxsize=4)(read_manifest)  # builders of one process read a list once


def base_spec(manifest: Manifest, stage: Stage) -> Spec:
    """The base of these LoRAs, as an artifact of the stage that trains any other."""
    config = {"sees": GIVEN, "base_sha256": content_hash(manifest.base)}
    return stage.spec(config, [], f"base {GIVEN}")


def build_base(folder: Path, runtime: Runtime) -> dict[str, Any]:
    """generator (.json, .safetensors) as the manifest's base has it."""
    from experiments.training.payloads import save_net
    from weightgen.files import write_json
    from weightgen.generation.saved import load_base_of

    net, description = load_base_of(read_once(runtime.places["zoo"]["file"]).base)
    save_net(folder, "generator", description, net.state_dict())
    write_json(folder / "concepts.json", [])
    return {"seconds": 0.0, "parameters": sum(p.numel() for p in net.parameters())}


def spec(options: Options, manifest: Manifest, concept: Concept, base: Spec) -> Spec:
    adapter = manifest.folders[concept.prompt]
    config = {
        "adapter_sha256": content_hash(adapter, [adapter / file for file in WEIGHTS]),
        "prompt": concept.prompt,
        "lora": options("lora"),
        "seed": options("build_seed"),
        "steps": 0,
    }
    return STAGE.spec(config, [base], f"adapter {concept.name}", concept)


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
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


STAGE = Stage("adapter", 1, "loras", build, per_concept=True, models=False)

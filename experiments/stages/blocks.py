"""Stage 4: the zoo cut into blocks, with the normaliser of train concepts. `make blocks`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec
from weightgen.data.concepts.concept import Concept


def spec(options: Options, concepts: Sequence[Concept], base: Spec, loras: Sequence[Spec]) -> Spec:
    """loras: of `concepts`, in their order."""
    zoo = [{"name": concept.name, "prompt": concept.prompt} for concept in concepts]
    return STAGE.spec({"blocks": options("blocks"), "concepts": zoo}, [base, *loras], "blocks")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """zoo.{json,safetensors}, layout.json, normalizer.safetensors, excluded.json: concepts whose LoRA diverged or changed
    nothing."""
    import torch

    from experiments.stages.lora import usable
    from experiments.training.payloads import tensors
    from weightgen.errors import WeightgenError
    from weightgen.files import save_tensors, write_json
    from weightgen.weights.blocks import BlockLayout
    from weightgen.weights.normalizer import Normalizer
    from weightgen.weights.zoo import Zoo, ZooEntry

    trained = list(zip(config["concepts"], inputs.all("lora", "adapter"), strict=True))
    kept = [(concept, lora) for concept, lora in trained if usable(lora.metrics)]
    excluded = [concept["name"] for concept, lora in trained if not usable(lora.metrics)]
    if len(kept) < 2:
        raise WeightgenError(
            f"{len(excluded)} of {len(trained)} LoRAs of the zoo diverged (lower budget.lora.optimizer.lr) or were not "
            "changed by their training (raise it, or budget.lora.steps): 2 are needed"
        )
    states = [tensors(lora.folder / "lora.safetensors") for _, lora in kept]
    shapes = {name: tuple(weight.shape) for name, weight in states[0].items()}
    layout = BlockLayout(shapes, config["blocks"]["size"], config["blocks"]["rule"])
    entries = [
        ZooEntry(
            concept=concept["name"],
            prompt=concept["prompt"],
            split="train",
            seed=lora.config["seed"],
            steps=lora.config["steps"],
            base=inputs.one("base").reference["key"],
            layout=layout.hash(),
            metrics={name: lora.metrics[name] for name in ("l1", "l1_zero") if name in lora.metrics},
        )
        for concept, lora in kept
    ]
    zoo = Zoo.collect(entries, [layout.to_blocks(state) for state in states])
    zoo.save(folder)
    normalizer = Normalizer.fit(zoo.blocks, layout.valid())
    save_tensors(folder / "normalizer.safetensors", normalizer.state())
    write_json(folder / "layout.json", layout.to_json())
    write_json(folder / "excluded.json", excluded)
    spread = torch.where(layout.valid(), normalizer.normalize(zoo.blocks), 0.0)
    return {
        "concepts": len(entries),
        "excluded": len(excluded),
        "blocks": layout.blocks,
        "weights": layout.weights,
        "padding": 1 - layout.weights / (layout.blocks * layout.size),
        "rms": float(spread.square().sum() / (layout.weights * len(entries))) ** 0.5,
    }


STAGE = Stage("blocks", 1, "blocks", build)

"""Features of prompts, computed once for all who read them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pipeline.options import Options
from experiments.pipeline.runtime import Runtime
from experiments.pipeline.stage import Inputs, Stage
from weightgen.artifacts import Spec


def spec(options: Options, prompts: Sequence[str]) -> Spec:
    config = {**options.by_content("text_encoder"), "prompts": list(prompts)}
    return STAGE.spec(config, [], f"text of {len(prompts)} prompts")


def build(config: Mapping[str, Any], inputs: Inputs, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """text.safetensors: tokens, mask and pooled of the prompts, in their order."""
    from experiments.training.payloads import text_encoder
    from weightgen.files import save_tensors

    text = text_encoder(runtime.local(config["text_encoder"])).encode(config["prompts"])
    save_tensors(folder / "text.safetensors", {"tokens": text.tokens, "mask": text.mask, "pooled": text.pooled})
    return {"prompts": len(text)}


STAGE = Stage("text", 1, "", build)

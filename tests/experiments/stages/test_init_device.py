"""Where a GPU is, inits that run a net do so there: followed without one, on the device `meta`, which knows shapes alone.

Torch refuses to mix it with the CPU, as it would a GPU.
"""

from dataclasses import replace

import pytest
import torch

from experiments.pipeline.build import Pipeline
from experiments.pipeline.stage import Inputs
from experiments.stages import init as stage
from experiments.training.payloads import text_encoder
from tests.helpers.configs import composed
from weightgen.rng import stream


@pytest.mark.parametrize("method", ["generated", "text_to_weights", "guided", "e2gan"])
def test_nothing_is_left_on_the_cpu(smoke, method: str) -> None:
    pipeline = Pipeline(composed("experiment=smoke", "logger=csv", f"paths.artifacts={smoke.folder}/artifacts"))
    spec = pipeline.init(method, pipeline.test_concepts[0], 0)
    pipeline.ensure(spec)
    inputs, init = Inputs.of(pipeline.store, spec), stage.new_init(spec.config["init"])
    text = text_encoder(spec.config["text_encoder"]).encode([spec.config["prompt"]])
    runs_a_net = bool(init.needs & {"generator", "pairs"})
    gpu = replace(pipeline.runtime, trainer=pipeline.runtime.trainer | {"accelerator": "gpu"})
    assert stage.device_of(init, gpu) == ("cuda" if runs_a_net else "cpu")
    assert stage.device_of(init, pipeline.runtime) == "cpu"
    with torch.no_grad():
        space, _ = stage.weight_space(spec.config, inputs, init.needs, text, "meta")
        blocks = init(space, text.to("meta"), stream(0, "init/noise"))
    assert blocks.is_meta
    if runs_a_net:
        with pytest.raises(RuntimeError), torch.no_grad():
            init(space, text, stream(0, "init/noise"))  # a prompt left on the CPU

"""Where a GPU is, inits that run a net do so there: followed without one, by tensors that know their device alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from experiments.pipeline.build import Pipeline
from experiments.pipeline.stage import Inputs
from experiments.stages import init as stage
from experiments.training import payloads
from experiments.training.payloads import text_encoder
from tests.helpers.configs import composed
from weightgen.generation.through_base import ThroughBase
from weightgen.rng import stream
from weightgen.weights import zoo


def moved(self: nn.Module, device: str, dtype: torch.dtype | None = None) -> nn.Module:
    """nn.Module.to, which cannot move fake tensors."""
    for module in self.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(weight.detach().to(device), weight.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = value.to(device) if value is not None else None
    return self


def without_backward(self: ThroughBase, blocks: torch.Tensor, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backward pass asks a real device."""
    return self.loss(blocks, *given), torch.ones_like(blocks)


def loaded(path: Path) -> dict[str, torch.Tensor]:
    with unset_fake_temporarily():
        return load_file(path)


@pytest.mark.parametrize("method", ["generated", "text_to_weights", "guided", "e2gan"])
def test_nothing_is_left_on_the_cpu(smoke, monkeypatch, method: str) -> None:
    pipeline = Pipeline(composed("experiment=smoke", "logger=csv", f"paths.artifacts={smoke.folder}/artifacts"))
    spec = pipeline.init(method, pipeline.test_concepts[0], 0)
    pipeline.ensure(spec)
    inputs, init = Inputs.of(pipeline.store, spec), stage.new_init(spec.config["init"])
    text = text_encoder(spec.config["text_encoder"]).encode([spec.config["prompt"]])
    expected = "cuda" if init.needs & {"generator", "pairs"} else "cpu"
    runtime = pipeline.runtime
    monkeypatch.setitem(runtime.trainer, "accelerator", "gpu")
    device = stage.device_of(init, runtime)
    assert device == expected
    monkeypatch.setattr(nn.Module, "to", moved)
    monkeypatch.setattr(ThroughBase, "loss_and_gradient", without_backward)
    for module in (payloads, zoo):
        monkeypatch.setattr(module, "load_file", loaded)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        space, _ = stage.weight_space(spec.config, inputs, init.needs, text, device)
        blocks = init(space, text.to(device), stream(0, "init/noise"))
    assert blocks.device.type == expected

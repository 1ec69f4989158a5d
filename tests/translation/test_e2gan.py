"""The E2GAN generator: shapes, what the prompt may and may not change, and its adapter map."""

import pytest
import torch
from torch import nn

from weightgen.translation import E2GANGenerator
from weightgen.translation.e2gan import Upsample, position_code


def generator(**options) -> E2GANGenerator:
    torch.manual_seed(0)
    return E2GANGenerator(text_dim=6, width=8, **{"resnet_blocks": 1, **options})


def prompt(batch: int, length: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, L, 6), the last two masked."""
    noise = torch.Generator().manual_seed(1)
    mask = (torch.arange(length) < length - 2).expand(batch, -1)
    return torch.randn(batch, length, 6, generator=noise), mask


@torch.no_grad()
@pytest.mark.parametrize("downs", [0, 1, 2])
@pytest.mark.parametrize("shape", [(16, 16), (24, 16)])
def test_output_has_the_shape_of_the_image_and_its_range(downs, shape):
    images = torch.rand(2, 3, *shape) * 2 - 1
    output = generator(downs=downs)(images, *prompt(2))
    assert output.shape == images.shape
    assert output.dtype == torch.float32
    assert float(output.abs().max()) <= 1


@torch.no_grad()
def test_masked_tokens_do_not_influence_the_output_and_real_ones_do():
    net, images, (tokens, mask) = generator(), torch.rand(2, 3, 16, 16), prompt(2)
    output = net(images, tokens, mask)
    assert torch.equal(net(images, tokens.masked_fill(~mask[..., None], 1e4), mask), output)
    torch.testing.assert_close(net(images, tokens[:, :3], mask[:, :3]), output)  # cut off, not only hidden
    assert not torch.allclose(net(images, tokens + 1.0, mask), output, atol=1e-4)


@torch.no_grad()
def test_each_image_is_translated_alone():
    net, images, (tokens, mask) = generator(), torch.rand(3, 3, 16, 16), prompt(3)
    alone = net(images[1:2], tokens[1:2], mask[1:2])
    torch.testing.assert_close(net(images, tokens, mask)[1:2], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_upsampling_starts_as_nearest_neighbour():
    torch.manual_seed(0)
    layer, x = Upsample(8, 16), torch.rand(2, 8, 5, 4)
    quarter = nn.Conv2d(8, 16, 3, padding=1)
    quarter.weight.copy_(layer.conv.weight[::4])
    quarter.bias.copy_(layer.conv.bias[::4])
    nearest = nn.functional.interpolate(quarter(x), scale_factor=2, mode="nearest")
    torch.testing.assert_close(layer(x), torch.relu(layer.norm(nearest)))
    assert layer(x).shape == (2, 16, 10, 8)


def test_position_code_by_hand():
    code = position_code(2, 3, 8, torch.device("cpu"))  # frequencies 1 and 1000 ** -0.5
    slow = 1000**-0.5
    assert code.shape == (6, 8)
    row, column = torch.tensor([1.0, slow]), torch.tensor([2.0, 2 * slow])  # of the last pixel
    last = torch.cat([row.sin(), row.cos(), column.sin(), column.cos()])
    torch.testing.assert_close(code[5], last)
    assert code[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("downs", [0, 1, 2])
def test_adapter_map_names_each_sampling_transformer_and_output_layer_once(downs):
    net = generator(downs=downs)
    kinds = net.lora_layers()
    assert list(kinds) == ["down", "transformer", "up", "out"]
    assert all(kinds.values())
    assert kinds["out"] == ["head"]
    assert kinds["down"] == [*(f"down.{i}.conv" for i in range(downs)), "down_inner.conv"]
    assert kinds["up"] == ["up_inner.conv", *(f"up.{i}.conv" for i in range(downs))]
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    assert kinds["transformer"] == linear
    names = [name for layers in kinds.values() for name in layers]
    assert len(set(names)) == len(names)
    assert not any(name.startswith(("stem", "encode", "decode")) for name in names)

"""The E2GAN generator: shapes, what the prompt may and may not change, and its adapter map."""

import math

import pytest
import torch
from torch import nn

from weightgen.translation.nets.e2gan import E2GANGenerator, Upsample, grid_code, position_code


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


@torch.no_grad()
def test_the_grid_code_is_a_known_sine_of_the_pixel_centres():
    code = grid_code(8, 4, 2, torch.device("cpu"))
    assert code.shape == (1, 8, 8, 4)
    centre = torch.tensor(math.pi / 4)  # the third pixel centre of 4 is at 2.5 / 4 of the side
    torch.testing.assert_close(code[0, 4, 0, 2], (5 * centre).sin())  # columns, one cycle
    torch.testing.assert_close(code[0, 3, 5, 0], (11 * centre).cos())  # rows, two cycles, centre 5.5 / 8
    assert torch.equal(code[0, :4, :, 0], code[0, :4, :, 3])  # row codes know no column


@torch.no_grad()
def test_positions_let_equal_patches_come_out_differently():
    flat, text = torch.zeros(1, 3, 64, 64), prompt(1)
    inside = (slice(None), slice(None), slice(24, 40), slice(24, 40))  # away from the padding at the border
    net = generator(positions=3, resnet_blocks=0)
    for block in net.transformer:  # its own position code would count too
        block.forward = lambda x, *text: x
    assert net(flat, *text)[inside].std() > 1e-3
    net = generator(positions=0, resnet_blocks=0)
    for block in net.transformer:
        block.forward = lambda x, *text: x
    assert net(flat, *text)[inside].flatten(2).std(-1).max() < 0.1 * net(flat, *text).flatten(2).std(-1).max()


@torch.no_grad()
def test_skips_carry_full_resolution_detail_past_the_bottleneck():
    images, text = torch.rand(1, 3, 16, 16), prompt(1)
    with_skips, without = generator(positions=0), generator(positions=0, skips="none")
    without.load_state_dict(with_skips.state_dict())  # they have the same parameters
    for net in (with_skips, without):
        net.up_inner.forward = lambda x: x.new_zeros(1, 16, 8, 8)  # cut the way through the bottleneck
    other = images.flip(-1)
    assert torch.equal(without(images, *text), without(other, *text))
    assert not torch.allclose(with_skips(images, *text), with_skips(other, *text), atol=1e-4)


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="skips is add or none"):
        generator(skips="concat")

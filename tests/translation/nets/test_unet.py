"""The pix2pix U-Net: shapes, skips, initial weights."""

import pytest
import torch
from torch import nn

from weightgen.translation.nets.unet import UNetGenerator


@torch.no_grad()
@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 16, 16)])
def test_output_has_the_shape_of_the_image_and_its_range(widths):
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    output = UNetGenerator(widths)(images)
    assert output.shape == images.shape
    assert float(output.abs().max()) <= 1


@torch.no_grad()
def test_the_prompt_is_ignored():
    net, images = UNetGenerator((8, 16)).eval(), torch.rand(2, 3, 16, 16)
    assert torch.equal(net(images, torch.rand(2, 4, 6), torch.ones(2, 4, dtype=torch.bool)), net(images))


@torch.no_grad()
def test_skips_carry_each_level_past_the_levels_below_it():
    torch.manual_seed(0)
    net, images = UNetGenerator((8, 16, 16)).eval(), torch.rand(1, 3, 16, 16)
    for module in net.modules():  # N(0, 0.02) alone hides what passes a level
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.mul_(10)
    for layer in (net.decoder[0], net.decoder[1]):  # cut every path but the outermost skip
        nn.init.zeros_(layer[1].weight)
        nn.init.zeros_(layer[1].bias)
    assert not torch.allclose(net(images), net(images.flip(3)), atol=1e-3)
    assert [layer[0].in_channels for layer in net.decoder] == [16, 32, 16]


@torch.no_grad()
def test_weights_start_from_a_normal_of_deviation_0_02():
    torch.manual_seed(0)
    for module in UNetGenerator((24, 48)).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert abs(float(module.weight.std()) - 0.02) < 0.002
            assert not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert abs(float(module.weight.mean()) - 1) < 0.02


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    net, images = UNetGenerator((8, 16, 16), dropout=0.5), torch.rand(2, 3, 16, 16)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


def test_norms_and_dropout_stand_where_pix2pix_has_them():
    net = UNetGenerator((4, 8, 8, 8, 8, 8), dropout=0.5)
    assert [isinstance(layer[1], nn.BatchNorm2d) for layer in net.encoder] == [False, True, True, True, True, False]
    dropped = [any(isinstance(part, nn.Dropout) and part.p == 0.5 for part in layer) for layer in net.decoder]
    assert dropped == [True, True, True, False, False, False]

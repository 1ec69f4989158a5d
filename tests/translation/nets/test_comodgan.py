"""The Co-Mod-GAN: StyleGAN2's modulated convolution against its definition, and what a generator promises."""

import math

import pytest
import torch
from torch.nn.functional import conv2d, l1_loss

from weightgen.errors import WeightgenError
from weightgen.translation.nets.comodgan import CoModGANGenerator, ModulatedConv, activate, upsample

TINY = {"widths": [4, 6, 8], "vector": 8, "latent": 6, "mapping_layers": 2}


def tiny(**options):
    torch.manual_seed(0)
    return CoModGANGenerator(**(TINY | options))


def photos(batch=2, height=16, width=16):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_convolution_with_each_images_own_normalised_weights(demodulate):
    torch.manual_seed(0)
    layer = ModulatedConv(5, 7, style=4, demodulate=demodulate)
    torch.nn.init.normal_(layer.bias)
    x, style = torch.randn(3, 5, 6, 6), torch.randn(3, 4)
    outputs = []
    for image, scale in zip(x, layer.scale(style), strict=True):
        weight = layer.weight * scale[None, :, None, None]  # StyleGAN2 eq. 1
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()  # eq. 3
        outputs.append(conv2d(image[None], weight, layer.bias, padding=1))
    torch.testing.assert_close(layer(x, style), torch.cat(outputs), rtol=1e-4, atol=1e-5)


def test_demodulated_features_have_unit_variance_whatever_the_style():
    torch.manual_seed(0)
    layer = ModulatedConv(16, 8, style=4)
    x = torch.randn(2, 16, 66, 66)
    for size in (0.1, 1.0, 100.0):
        inner = layer(x, size * torch.randn(2, 4))[:, :, 1:-1, 1:-1]  # zero padding dims the border
        torch.testing.assert_close(inner.var((2, 3)), torch.ones(2, 8), rtol=0.15, atol=0.0)


def test_activation_keeps_the_second_moment():
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    # E[lrelu^2] = (1 + 0.2^2) / 2 of x's, and 2 of it after the gain
    assert float(activate(x).square().mean()) == pytest.approx(1.04, rel=0.02)


def test_upsampling_is_the_1331_filter():
    row = torch.zeros(1, 1, 1, 5)
    row[..., 2] = 1.0
    expected = torch.tensor([0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0, 0, 0])
    torch.testing.assert_close(upsample(row)[0, 0, 0], expected)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 16), (8, 20), (24, 12), (64, 32)])
def test_any_size_that_halves_is_kept_and_bounded(height, width):
    images = photos(2, height, width)
    for model in (tiny().train(), tiny().eval()):
        out = model(images, torch.zeros(2, 3, 5), torch.ones(2, 3, dtype=torch.bool))
        assert out.shape == images.shape
        assert bool((out.abs() <= 1).all())


def test_a_size_that_does_not_halve_names_the_remedy():
    with pytest.raises(WeightgenError, match=r"18 x 16 px.*widths.*multiple of 4"):
        tiny()(photos(1, 18, 16))


def test_evaluation_is_deterministic_and_each_image_alone():
    model = tiny()
    model.train()
    for _ in range(3):
        model(photos())
    model.eval()
    torch.manual_seed(5)
    together = model(photos())
    torch.manual_seed(6)
    torch.testing.assert_close(torch.cat([model(image[None]) for image in photos()]), together, rtol=1e-4, atol=1e-5)
    assert int(model.passes) == 3  # evaluation draws nothing


def test_training_noise_varies_and_a_resumed_run_repeats_it():
    model, copy = tiny().train(), tiny(latent=6).train()
    with torch.no_grad():  # awake: noise enters only once its strength has been learned
        for level in [*model.decoder, *copy.decoder]:
            level.noise_strength.fill_(0.5)
    first, second = model(photos()), model(photos())
    assert not torch.allclose(first, second, atol=1e-3)
    copy(photos())
    resumed = CoModGANGenerator(**TINY).train()
    resumed.load_state_dict(copy.state_dict())
    torch.testing.assert_close(resumed(photos()), second, rtol=0, atol=0)
    torch.testing.assert_close(resumed.mean_style, model.mean_style, rtol=0, atol=0)


def test_the_mean_style_is_a_plain_mean_at_first():
    model = tiny().train()
    seen = []
    styles = model.styles
    model.styles = lambda *arguments: seen.append(styles(*arguments)) or seen[-1]
    for _ in range(4):
        model(photos())
    torch.testing.assert_close(model.mean_style, torch.cat(seen).mean(0).detach(), rtol=1e-5, atol=1e-6)


def test_every_parameter_gets_a_gradient():
    model = tiny().train()
    l1_loss(model(photos()), photos().flip(0)).backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert idle == []


def test_bottleneck_and_noise_both_modulate():
    """Co-modulation: with all skip features silenced the image and the noise still reach the output."""
    model = tiny().eval()
    encode = model.encode

    def silenced(images):
        vector, features = encode(images)
        return vector, [torch.zeros_like(f) for f in features]

    model.encode = silenced
    with torch.no_grad():
        out = model(photos())
        assert not torch.allclose(out[0], out[1], atol=1e-3)
        model.mean_style += 1.0
        assert not torch.allclose(model(photos()), out, atol=1e-3)


def test_it_learns_to_invert_colours():
    model = tiny().train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3, betas=(0.5, 0.999))
    images = photos(8)
    start = l1_loss(model.eval()(images), -images).item()
    model.train()
    for _ in range(80):
        optimizer.zero_grad()
        l1_loss(model(images), -images).backward()
        optimizer.step()
    assert l1_loss(model.eval()(images), -images).item() < 0.5 * start


def test_the_paper_scale_net_reads_256_px():
    """Shapes alone, on the meta device: 256 px down to 4 x 4."""
    with torch.device("meta"):
        model = CoModGANGenerator([64, 128, 256, 512, 512, 512, 512], vector=1024, latent=512, mapping_layers=8)
        assert 256 // 2**model.halvings == 4
        assert model.eval()(torch.empty(2, 3, 256, 256)).shape == (2, 3, 256, 256)
    assert sum(math.prod(p.shape) for p in model.parameters()) > 40e6

"""The PatchGAN: one logit a patch, from source and image together."""

import pytest
import torch

from weightgen.translation.nets.patchgan import PatchDiscriminator


@pytest.mark.parametrize(
    ("layers", "side"),
    [(1, 14), (2, 6), (3, 2)],  # 32 halves `layers` times, then two 4 x 4 convolutions of stride 1 take 1 each
)
def test_one_logit_per_patch(layers, side):
    logits = PatchDiscriminator(8, layers)(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 1, side, side)


def test_a_logit_sees_its_receptive_field_alone():
    """4 x 4 kernels at strides 1, 2, 4 and 4 of the image: 4 + 3 * 2 + 3 * 4 + 3 * 4 = 34 pixels."""
    net = PatchDiscriminator(8, 2)
    for module in net.net:
        if isinstance(module, torch.nn.GroupNorm):  # its statistics span the image
            module.forward = lambda x: x
    source = torch.rand(1, 3, 64, 64, requires_grad=True)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    net(source, image)[0, 0, 7, 7].backward()
    for pixels in (source, image):
        rows = pixels.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        assert int(rows.max() - rows.min()) + 1 == 34


@torch.no_grad()
def test_both_source_and_image_count():
    torch.manual_seed(0)
    net, a, b = PatchDiscriminator(8), torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    assert not torch.allclose(net(a, b), net(b, b))
    assert not torch.allclose(net(a, b), net(a, a))

"""The conditional PatchGAN discriminator of pix2pix."""

import torch
from torch import Tensor, nn

from weightgen.translation.nets.e2gan import group_norm


class PatchDiscriminator(nn.Module):
    """(source, image), each (B, 3, H, W) in [-1, 1] -> logits (B, 1, h, w), one per receptive-field patch."""

    def __init__(self, width: int = 16, layers: int = 2) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        channels = width
        for level in range(1, layers + 1):
            out = width * min(2**level, 8)
            stride = 2 if level < layers else 1
            modules += [nn.Conv2d(channels, out, 4, stride, 1), group_norm(out), nn.LeakyReLU(0.2)]
            channels = out
        modules.append(nn.Conv2d(channels, 1, 4, 1, 1))
        self.net = nn.Sequential(*modules)

    def forward(self, source: Tensor, image: Tensor) -> Tensor:
        return self.net(torch.cat([source, image], 1))

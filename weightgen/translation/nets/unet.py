"""The pix2pix U-Net generator (Isola et al., CVPR 2017), trained from scratch for each concept."""

import torch
from torch import Tensor, nn

DROPPED = 3  # innermost decoder levels that have dropout


class UNetGenerator(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> same; H and W must divide by 2 ** len(widths).

    widths: channels of each stride-2 encoder level, outermost first. dropout: of the three innermost decoder levels; the
    outermost and the innermost encoder level have no norm (both as in section 6.1 of the pix2pix paper). The prompt is
    ignored: pix2pix trains one net per concept.
    """

    def __init__(self, widths: list[int] | tuple[int, ...] = (24, 48, 96, 96, 96), dropout: float = 0.0) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        channels = 3
        for level, width in enumerate(widths):
            norm = nn.Identity() if level in (0, len(widths) - 1) else nn.BatchNorm2d(width)
            self.encoder.append(nn.Sequential(nn.Conv2d(channels, width, 4, 2, 1), norm))
            channels = width
        for level in reversed(range(len(widths))):
            out = widths[level - 1] if level else 3
            tail: list[nn.Module] = [nn.BatchNorm2d(out)] if level else [nn.Tanh()]
            if level and len(widths) - level <= DROPPED:
                tail.append(nn.Dropout(dropout))
            self.decoder.append(nn.Sequential(nn.ConvTranspose2d(channels, out, 4, 2, 1), *tail))
            channels = 2 * out
        for module in self.modules():  # pix2pix initialises every weight from N(0, 0.02)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, images: Tensor, tokens: Tensor | None = None, text_mask: Tensor | None = None) -> Tensor:
        skips: list[Tensor] = []
        x = images
        for level, layer in enumerate(self.encoder):
            x = layer(x if level == 0 else nn.functional.leaky_relu(x, 0.2))
            skips.append(x)
        x = skips.pop()
        for layer in self.decoder:
            x = layer(torch.relu(x))
            if skips:
                x = torch.cat([x, skips.pop()], 1)
        return x

"""Co-Mod-GAN (Zhao et al., ICLR 2021, arXiv 2103.10428): bottleneck and noise modulate a StyleGAN2 decoder.

The paper's slowest row, Pix2pix-zero-distilled, trains one for each concept.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu

from weightgen.errors import WeightgenError
from weightgen.rng import stream

BOTTLENECK = 4  # the encoder's map is read at 4 x 4, as in the paper
AVERAGE = 0.005  # weight of the newest batch in the mean style (StyleGAN2's w_avg_beta = 0.995)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU times sqrt(2), which keeps the variance of its input (StyleGAN2)."""
    return leaky_relu(x, 0.2) * math.sqrt(2)


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style, its outputs brought back to unit variance.

    Equals convolving each image with w * s / |w * s| (StyleGAN2 eq. 1 and 3), but scales features instead of
    weights, so that one plain convolution serves the whole batch.
    x: (B, C, H, W); style: (B, S) -> (B, C', H, W).
    """

    def __init__(self, channels: int, out_channels: int, style: int, kernel: int = 3, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(out_channels, channels, kernel, kernel) / math.sqrt(channels * kernel**2)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = nn.Linear(style, channels)
        nn.init.normal_(self.scale.weight, 0.0, 1 / math.sqrt(style))
        nn.init.ones_(self.scale.bias)  # styles start around 1
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.scale(style)  # (B, C)
        x = conv2d(x * scale[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            energy = scale.square() @ self.weight.square().sum((2, 3)).T  # sums of (w s)^2: (B, C')
            x = x * (energy + 1e-8).rsqrt()[:, :, None, None]
        return x + self.bias[:, None, None]


class DecoderLevel(nn.Module):
    """One resolution: (upsample, conv,) add the encoder's features, conv, and add to the image so far."""

    def __init__(self, channels: int, out_channels: int, style: int, up: bool) -> None:
        super().__init__()
        self.enter = ModulatedConv(channels, out_channels, style) if up else None
        self.conv = ModulatedConv(out_channels, out_channels, style)
        self.to_rgb = ModulatedConv(out_channels, 3, style, kernel=1, demodulate=False)
        self.noise_strength = nn.Parameter(torch.zeros(()))

    def forward(
        self, x: Tensor, skip: Tensor, image: Tensor | None, style: Tensor, noise: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        if self.enter is not None:
            x = activate(self.enter(upsample(x), style))
        x = self.conv((x + skip) / math.sqrt(2), style)
        if noise is not None:
            grain = torch.randn(len(x), 1, *x.shape[2:], generator=noise, device=x.device)
            x = x + self.noise_strength * grain
        x = activate(x)
        rgb = self.to_rgb(x, style)
        return x, rgb if image is None else upsample(image) + rgb


def upsample(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W); bilinear at scale 2 is StyleGAN2's [1, 3, 3, 1] filter."""
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class CoModGANGenerator(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> same; H and W must divide by 2 ** (len(widths) - 1). The prompt is ignored.

    widths: channels at full size, half size, and so on down to the bottleneck (4 x 4 in the paper; any size
    is read through a 4 x 4 pooling). vector: size of the bottleneck vector. latent: size of noise and style.
    Noise of training mode is a function of `noise_seed`, drawn like the weights at construction, and of the
    forward passes so far, so that a resumed run sees what an uninterrupted one does. Evaluation is
    deterministic: no noise, and the mean of the styles seen in training (StyleGAN2's truncation at 0).
    """

    def __init__(
        self,
        widths: list[int] | tuple[int, ...] = (12, 24, 48, 64, 64),
        vector: int = 128,
        latent: int = 64,
        mapping_layers: int = 4,
    ) -> None:
        super().__init__()
        widths = list(widths)
        self.latent, self.halvings, deepest = latent, len(widths) - 1, widths[-1]
        self.multiple = 2**self.halvings
        self.stem = nn.Conv2d(3, widths[0], 1)
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.to_vector = nn.Linear(deepest * BOTTLENECK**2, vector)
        self.mapping = nn.ModuleList(nn.Linear(latent, latent) for _ in range(mapping_layers))
        self.from_vector = nn.Linear(vector, deepest * BOTTLENECK**2)
        style = vector + latent
        self.decoder = nn.ModuleList([DecoderLevel(deepest, deepest, style, up=False)])
        for channels, out in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.decoder.append(DecoderLevel(channels, out, style, up=True))
        self.register_buffer("mean_style", torch.zeros(latent))
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))
        self.register_buffer("noise_seed", torch.randint(2**31, ()))
        for module in [self.stem, *self.encoder, self.to_vector, *self.mapping, self.from_vector]:
            fan_in = module.weight[0].numel()  # activate() has gain sqrt(2) already
            nn.init.normal_(module.weight, 0.0, 1 / math.sqrt(fan_in))
            nn.init.zeros_(module.bias)

    def encode(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """images: (B, 3, H, W) -> bottleneck vector (B, vector), features from full size down."""
        x = activate(self.stem(images))
        features = [x]
        for layer in self.encoder:
            x = activate(layer(x))
            features.append(x)
        return activate(self.to_vector(resize(x, BOTTLENECK, BOTTLENECK).flatten(1))), features

    def styles(self, batch: int, noise: torch.Generator | None, device: torch.device) -> Tensor:
        """(batch, latent): mapped noise, or the mean style where `noise` is None."""
        if noise is None:
            return self.mean_style.expand(batch, -1)
        w = torch.randn(batch, self.latent, generator=noise, device=device)
        w = w * (w.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = activate(layer(w))
        # A plain mean at first, an exponential one later.
        self.mean_style.lerp_(w.detach().mean(0).to(self.mean_style), max(1 / int(self.passes), AVERAGE))
        return w

    def forward(self, images: Tensor, tokens: Tensor | None = None, text_mask: Tensor | None = None) -> Tensor:
        height, width = images.shape[-2:]
        if height % 2**self.halvings or width % 2**self.halvings:
            raise WeightgenError(
                f"images of {height} x {width} px cannot be halved {self.halvings} times: "
                f"give the Co-Mod-GAN fewer `widths`, or photos.size a multiple of {2**self.halvings}"
            )
        vector, features = self.encode(images)
        noise = self.next_noise(images.device) if self.training else None
        style = torch.cat([vector, self.styles(len(images), noise, images.device)], 1)  # co-modulation
        x = activate(self.from_vector(vector)).unflatten(1, (-1, BOTTLENECK, BOTTLENECK))
        x = resize(x, *features[-1].shape[2:])
        image = None
        for level in self.decoder:
            x, image = level(x, features.pop(), image, style, noise)
        return torch.tanh(image)

    def next_noise(self, device: torch.device) -> torch.Generator:
        self.passes += 1
        return stream(int(self.noise_seed), "comodgan/noise", int(self.passes), device)


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) -> (B, C, height, width): averaged where it shrinks by whole factors, else bilinear."""
    if x.shape[2] % height == 0 and x.shape[3] % width == 0:
        return avg_pool2d(x, (x.shape[2] // height, x.shape[3] // width))
    return interpolate(x, size=(height, width), mode="bilinear", align_corners=False)

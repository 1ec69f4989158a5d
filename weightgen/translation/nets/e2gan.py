"""The E2GAN generator (PAPER Method 3; arXiv 2401.06127): few blocks, one of them attending to the prompt."""

import math
from itertools import pairwise

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of 8 channels: unlike instance norm it keeps the absolute intensities that recolouring needs."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class ResnetBlock(nn.Module):
    """x + conv(act(norm(conv(x)))) at constant width. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, C', H/2, W/2)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
        self.norm = group_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class Upsample(nn.Module):
    """(B, C, H, W) -> (B, C', 2H, 2W) by conv + pixel shuffle: peft cannot adapt a transposed convolution."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out_channels, 3, padding=1)
        self.norm = group_norm(out_channels)
        with torch.no_grad():  # four equal sub-filters: starts as nearest-neighbour upsampling
            self.conv.weight.copy_(self.conv.weight[::4].repeat_interleave(4, dim=0))
            self.conv.bias.copy_(self.conv.bias[::4].repeat_interleave(4, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(nn.functional.pixel_shuffle(self.conv(x), 2)))


def position_code(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Fixed sine-cosine code of the pixel grid, (H*W, channels); any size, no parameters."""
    quarter = channels // 4
    frequency = torch.exp(-math.log(1000.0) * torch.arange(quarter, device=device) / quarter)
    rows = torch.arange(height, device=device)[:, None] * frequency
    columns = torch.arange(width, device=device)[:, None] * frequency
    rows = torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(height, width, -1)
    columns = torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, width, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)


def grid_code(height: int, width: int, octaves: int, device: torch.device, period: int | None = None) -> Tensor:
    """Sines and cosines of where a pixel is, (1, 4 * octaves, H, W): 1, 2, 4, ... cycles along `period` pixels; None: along
    each side of the image.

    What lets a net of small convolutions draw a grid (halftone, tiles, stitches), which is tied to the image's
    coordinates: without it a 64 px base of 12 concepts stays at twice the L1.
    """
    cycles = 2 * math.pi * 2.0 ** torch.arange(octaves, device=device)[:, None]
    rows = cycles * (torch.arange(height, device=device) + 0.5) / (period or height)
    columns = cycles * (torch.arange(width, device=device) + 0.5) / (period or width)
    rows = torch.cat([rows.sin(), rows.cos()])[:, :, None].expand(-1, -1, width)
    columns = torch.cat([columns.sin(), columns.cos()])[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])[None]


class PromptTransformer(nn.Module):
    """Self-attention over the feature map and cross-attention to the prompt tokens."""

    def __init__(self, channels: int, text_dim: int, heads: int) -> None:
        super().__init__()
        self.block = BasicTransformerBlock(channels, heads, channels // heads, cross_attention_dim=text_dim)

    def forward(self, x: Tensor, tokens: Tensor, text_mask: Tensor) -> Tensor:
        """x: (B, C, H, W); tokens: (B, L, E); text_mask: (B, L) bool -> (B, C, H, W)."""
        height, width = x.shape[2:]
        sequence = x.flatten(2).transpose(1, 2) + position_code(height, width, x.shape[1], x.device)
        bias = torch.zeros_like(text_mask, dtype=x.dtype).masked_fill(~text_mask, torch.finfo(x.dtype).min)
        sequence = self.block(sequence, encoder_hidden_states=tokens.to(x.dtype), encoder_attention_mask=bias[:, None])
        return sequence.transpose(1, 2).unflatten(2, (height, width))


class E2GANGenerator(nn.Module):
    """Down, ResNet blocks, down, transformer block, up, ResNet block, up: (B, 3, H, W) in [-1, 1] -> same.

    `width` channels at full resolution, doubled by each of `downs` + 1 halvings; H and W must divide by
    2 ** (downs + 1). Inputs beyond the image: tokens (B, L, text_dim), text_mask (B, L) bool.
    skips: "add" joins each resolution's encoder features to its decoder's; "none" is as published.
    positions: octaves of `grid_code` that the first convolution sees beside the image; 0 is as published. period: of the
    slowest of them, in pixels; None: the image's side, as in training, whose size is the period for images of other sizes.
    Raises ValueError for other values.
    """

    def __init__(
        self,
        text_dim: int,
        width: int = 16,
        downs: int = 1,
        resnet_blocks: int = 2,
        transformer_blocks: int = 1,
        heads: int = 4,
        skips: str = "add",
        positions: int = 5,
        period: int | None = None,
    ) -> None:
        super().__init__()
        if skips not in ("add", "none") or positions < 0:
            raise ValueError(f"skips={skips!r}, positions={positions}: skips is add or none, positions 0 or more")
        self.skips, self.positions, self.period = skips, positions, period
        widths = [width * 2**i for i in range(downs + 1)]
        inner = 2 * widths[-1]
        self.multiple = 2 ** (downs + 1)
        self.stem = nn.Conv2d(3 + 4 * positions, width, 3, padding=1)
        self.down = nn.ModuleList(Downsample(a, b) for a, b in pairwise(widths))
        self.encode = nn.Sequential(*(ResnetBlock(widths[-1]) for _ in range(resnet_blocks)))
        self.down_inner = Downsample(widths[-1], inner)
        self.transformer = nn.ModuleList(PromptTransformer(inner, text_dim, heads) for _ in range(transformer_blocks))
        self.up_inner = Upsample(inner, widths[-1])
        self.decode = ResnetBlock(widths[-1])
        self.up = nn.ModuleList(Upsample(b, a) for a, b in reversed(list(pairwise(widths))))
        self.head = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, images: Tensor, tokens: Tensor, text_mask: Tensor) -> Tensor:
        if self.positions:
            code = grid_code(*images.shape[2:], self.positions, images.device, self.period).to(images.dtype)
            images = torch.cat([images, code.expand(images.shape[0], -1, -1, -1)], 1)
        x = torch.relu(self.stem(images))
        encoded = []  # features at each resolution that the decoder meets again, full size first
        for layer in self.down:
            encoded.append(x)
            x = layer(x)
        encoded.append(self.encode(x))
        x = self.down_inner(encoded[-1])
        for layer in self.transformer:
            x = layer(x, tokens, text_mask)
        x = self.decode(self._join(self.up_inner(x), encoded.pop()))
        for layer in self.up:
            x = self._join(layer(x), encoded.pop())
        return torch.tanh(self.head(x))

    def _join(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return decoded + encoded if self.skips == "add" else decoded

    def lora_layers(self) -> dict[str, list[str]]:
        """Kind -> names of the layers that get an adapter (E2GAN: sampling and transformer layers)."""
        kinds = {"down": (self.down, self.down_inner), "up": (self.up_inner, self.up), "out": (self.head,)}
        roots = {id(m): kind for kind, modules in kinds.items() for root in modules for m in root.modules()}
        roots |= {id(m): "transformer" for m in self.transformer.modules()}
        layers: dict[str, list[str]] = {kind: [] for kind in ("down", "transformer", "up", "out")}
        for name, module in self.named_modules():
            if id(module) in roots and isinstance(module, nn.Conv2d | nn.Linear):
                layers[roots[id(module)]].append(name)
        return layers

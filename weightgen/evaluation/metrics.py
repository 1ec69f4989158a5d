"""All image scores of one translator on one concept, from one pass of a feature extractor."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightgen.evaluation.distances import TargetStatistics, frechet_distance, gaussian_distance, kernel_distance
from weightgen.evaluation.features import Features, check_images


@dataclass(frozen=True)
class Reference:
    """What a concept's targets contribute to every score, computed once, on the features' device.

    targets: uint8 (M, 3, H, W); pooled: float32 (M, D); maps: float16 (M, C, h, w), channel-normalised.
    feature_set: the extractor's name, checked at use.
    """

    targets: Tensor
    pooled: Tensor
    maps: tuple[Tensor, ...]
    feature_set: str
    statistics: TargetStatistics = field(repr=False)


class ImageMetrics:
    """fid, kid, mmd, l1 and perceptual of outputs against their targets.

    features: an extractor (weightgen.evaluation.features), already on the device it shall run on.
    batch_size: images per pass; on one core 32 is as fast as any, for the maps stay in cache.
    """

    def __init__(self, features: Features, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}")
        self.features = features
        self.batch_size = batch_size

    @torch.inference_mode()
    def reference(self, targets: Tensor) -> Reference:
        """targets: uint8 (M, 3, H, W), M >= 2, in the order of the outputs that will be scored."""
        check_images(targets)
        targets = targets.to(self._device())
        pooled, maps = [], []
        for batch in targets.split(self.batch_size):
            vector, levels = self.features.levels(batch)
            pooled.append(vector.float())
            # float16 halves the store; targets and their reload then score identically.
            maps.append([_unit(level).half() for level in levels])
        stacked = tuple(torch.cat(level) for level in zip(*maps, strict=True))
        joined = torch.cat(pooled)
        return Reference(targets, joined, stacked, self.features.name, TargetStatistics.of(joined))

    @torch.inference_mode()
    def __call__(self, outputs: Tensor, reference: Reference) -> dict[str, float]:
        """outputs: uint8 (M, 3, H, W), image i made from the photo of target i.

        -> fid >= 0 and kid (feature units); mmd, at most 2; l1 in [0, 1], mean |output - target| / 255; perceptual in
        [0, 4], the mean over images, levels and positions of the squared distance of channel-normalised
        maps: LPIPS (Zhang et al. 2018, eq. 1) with all weights equal. Lower is better in all five.
        Raises ValueError where shapes or feature sets differ.
        """
        check_images(outputs)
        if outputs.shape != reference.targets.shape:
            raise ValueError(f"outputs {tuple(outputs.shape)}, targets {tuple(reference.targets.shape)}")
        if self.features.name != reference.feature_set:
            raise ValueError(f"reference made with {reference.feature_set}, scored with {self.features.name}")
        outputs = outputs.to(self._device())
        pooled, absolute, perceptual = [], [], []
        for start in range(0, len(outputs), self.batch_size):
            part = slice(start, start + self.batch_size)
            batch = outputs[part]
            vector, levels = self.features.levels(batch)
            pooled.append(vector.float())
            absolute.append((batch.float() - reference.targets[part].float()).abs().double().sum())
            for level, target in zip(levels, reference.maps, strict=True):
                gap = (_unit(level) - target[part].to(level)).square().sum(dim=1)
                perceptual.append(gap.mean(dim=(1, 2)).double().sum() / len(levels))
        joined = torch.cat(pooled)
        return {
            "fid": frechet_distance(joined, reference.statistics),
            "kid": kernel_distance(joined, reference.pooled),
            "mmd": gaussian_distance(joined, reference.pooled),
            "l1": float(sum(absolute)) / (255 * outputs.numel()),
            "perceptual": float(sum(perceptual)) / len(outputs),
        }

    def _device(self) -> torch.device:
        tensors = [*self.features.parameters(), *self.features.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")


class PerceptualLoss(nn.Module):
    """The perceptual distance as a loss: LPIPS with all weights equal (Zhang et al. 2018, eq. 1). features: frozen."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """images, targets: (B, 3, H, W) in [-1, 1] -> (B,), each in [0, 4]; its gradient is that of `images` alone."""
        with torch.no_grad():
            wanted = self.features.maps(127.5 * (targets + 1))
        found = self.features.maps(127.5 * (images + 1))
        gaps = [(_unit(a) - _unit(b)).square().sum(1).mean((1, 2)) for a, b in zip(found, wanted, strict=True)]
        return torch.stack(gaps).mean(0)


FLAT = 2.0  # grey levels: a picture, or what tells two pictures apart, below this spread is nothing that was drawn


def collapsed(images: Tensor) -> bool:
    """Whether a translator draws nothing: every picture is of one colour, or all pictures are one, whatever the photo.

    images: uint8 (N, 3, H, W), N >= 1; of a single one only its own colour counts.
    """
    values = images.float()
    one_colour = bool(((values.amax((2, 3)) - values.amin((2, 3))) <= FLAT).all())
    one_picture = len(values) > 1 and bool((values.amax(0) - values.amin(0)).max() <= FLAT)
    return one_colour or one_picture


def _unit(level: Tensor) -> Tensor:
    """(B, C, h, w) -> unit length over C at every position."""
    return F.normalize(level.float(), dim=1, eps=1e-10)

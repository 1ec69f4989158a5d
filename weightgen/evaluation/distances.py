"""Distances between two sets of feature vectors: Frechet (FID), and kernels, polynomial (KID) and Gaussian (MMD).

FID with a feature set other than InceptionV3's is not the published FID: results carry the features' name.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_kernel


@dataclass(frozen=True)
class TargetStatistics:
    """A feature set's part of the Frechet distance, computed once per concept.

    mean: (D,); root: (R, D) with root.T @ root = the unbiased covariance and R <= min(N, D); float64.
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "TargetStatistics":
        """features: (N, D), N >= 2. Raises ValueError otherwise."""
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"the Frechet distance needs (N >= 2, D) features, got {tuple(features.shape)}")
        x = features.double()
        mean = x.mean(dim=0)
        root = (x - mean) / (len(x) - 1) ** 0.5
        if len(root) > root.shape[1]:
            # root = Q R with Q orthonormal: R is the smaller factor of the same covariance.
            root = torch.linalg.qr(root, mode="r").R
        return cls(mean, root)


def frechet_distance(x: Tensor | TargetStatistics, y: Tensor | TargetStatistics) -> float:
    """Frechet distance of Gaussians fitted to x: (N, D) and y: (M, D), in feature units squared, >= 0.

    |mu_x - mu_y|^2 + Tr S_x + Tr S_y - 2 Tr (S_x S_y)^(1/2)   (Heusel et al. 2017, eq. 6), in float64.
    With S = A^T A the last trace is the nuclear norm of A_x A_y^T: an (N, M) problem, not a (D, D) one,
    and exact where the covariance is singular. Clamped at 0, where round-off leaves about -1e-12.
    """
    p, q = (s if isinstance(s, TargetStatistics) else TargetStatistics.of(s) for s in (x, y))
    if p.mean.shape != q.mean.shape:
        raise ValueError(f"features of different sizes: {tuple(p.mean.shape)} and {tuple(q.mean.shape)}")
    coupling = torch.linalg.svdvals(p.root @ q.root.T).sum()
    value = (p.mean - q.mean).square().sum() + p.root.square().sum() + q.root.square().sum() - 2 * coupling
    return max(0.0, value.item())


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased MMD^2 with the kernel (x.y / D + 1)^3 over all samples (Binkowski et al. 2018), float64.

    x: (N, D), y: (M, D), N, M >= 2. Equal to torchmetrics' poly_mmd where N = M, which is all that it
    supports. Unbiased, so it may be slightly negative. Raises ValueError with fewer samples.
    """
    _enough(x, y)
    x, y = x.double(), y.double()
    return _unbiased(poly_kernel(x, x), poly_kernel(y, y), poly_kernel(x, y))


def gaussian_distance(x: Tensor, y: Tensor) -> float:
    """Unbiased MMD^2 with the kernel exp(-|x - y|^2 / (2 s^2)), float64, at most 2: no assumption on how features are
    distributed, and little bias from few images (Jayasumana et al. 2024, CMMD, with these features for CLIP's).

    x: (N, D), y: (M, D), the targets; s: the median distance of two targets. Raises ValueError with under 2 of either.
    """
    _enough(x, y)
    x, y = x.double(), y.double()
    between = torch.cdist(y, y)
    scale = between[torch.triu(torch.ones_like(between, dtype=torch.bool), 1)].median().square().clamp(min=1e-12)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b).square() / (2 * scale))

    return _unbiased(kernel(x, x), kernel(y, y), kernel(x, y))


def _enough(x: Tensor, y: Tensor) -> None:
    if min(len(x), len(y)) < 2:
        raise ValueError(f"the kernel distance needs two samples of each set, got {len(x)} and {len(y)}")


def _unbiased(k_xx: Tensor, k_yy: Tensor, k_xy: Tensor) -> float:
    """MMD^2 of kernel values, leaving each sample with itself out."""
    n, m = k_xy.shape
    within_x = (k_xx.sum() - k_xx.trace()) / (n * (n - 1))
    within_y = (k_yy.sum() - k_yy.trace()) / (m * (m - 1))
    return (within_x + within_y - 2 * k_xy.mean()).item()

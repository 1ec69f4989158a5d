"""Distances between two sets of feature vectors: Frechet (FID) and kernel (KID).

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
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"the kernel distance needs two samples of each set, got {n} and {m}")
    x, y = x.double(), y.double()
    k_xx, k_yy, k_xy = poly_kernel(x, x), poly_kernel(y, y), poly_kernel(x, y)
    within_x = (k_xx.sum() - k_xx.trace()) / (n * (n - 1))
    within_y = (k_yy.sum() - k_yy.trace()) / (m * (m - 1))
    return (within_x + within_y - 2 * k_xy.mean()).item()

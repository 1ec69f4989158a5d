"""Which of the train photos to learn from: all, a random share, or representative ones (E2GAN, arXiv 2401.06127)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from weightgen.data.representative import representative
from weightgen.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 32  # photos that go through the features at once


class EveryPhoto:
    """No choice at all."""

    def rows(self, photos: "Tensor", seed: int) -> "Tensor":
        """photos: uint8 (N, 3, S, S) -> which to use, ascending, long (n,)."""
        import torch  # budgets are asked for where nothing is computed

        return torch.arange(len(photos))

    def budget(self, budget: dict[str, Any]) -> dict[str, Any]:
        """A training budget for so many photos."""
        return budget

    def concepts(self, count: int, default: int) -> int:
        """How many of `count` train concepts the base sees."""
        return min(default, count)


class RandomSubset(EveryPhoto):
    """`fraction` of the photos, drawn by the seed. same_epochs: `steps` and `points` shrink as an epoch does. concepts: a
    share of the train concepts for the base; None: what the budget says."""

    def __init__(self, fraction: float, same_epochs: bool = True, concepts: float | None = None) -> None:
        for name, share in (("fraction", fraction), ("concepts", 1.0 if concepts is None else concepts)):
            if not 0 < share <= 1:
                raise DataError(f"subset.{name}={share}: a share in (0, 1]")
        self.fraction, self.same_epochs, self.share = fraction, same_epochs, concepts

    def count(self, photos: "Tensor") -> int:
        return max(1, round(self.fraction * len(photos)))

    def rows(self, photos: "Tensor", seed: int) -> "Tensor":
        import torch

        order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))
        return order[: self.count(photos)].sort().values

    def budget(self, budget: dict[str, Any]) -> dict[str, Any]:
        if not self.same_epochs:
            return budget

        def fewer(steps: int) -> int:
            return max(1, round(self.fraction * steps)) if steps else 0

        given = budget.get("points")
        points = {"points": sorted({fewer(point) for point in given})} if isinstance(given, list | tuple) else {}
        return budget | {"steps": fewer(budget["steps"])} | points

    def concepts(self, count: int, default: int) -> int:
        return min(default, count) if self.share is None else max(1, round(self.share * count))


class KMeansSubset(RandomSubset):
    """The photos nearest to the centres of k-means on `features` (uint8 (B, 3, H, W) -> (B, D))."""

    def __init__(self, *args: Any, features: "Callable[[Tensor], Tensor]", **options: Any) -> None:
        super().__init__(*args, **options)
        self.features = features

    def rows(self, photos: "Tensor", seed: int) -> "Tensor":
        import torch

        with torch.inference_mode():
            points = torch.cat([self.features(batch) for batch in photos.split(BATCH)])
        return torch.tensor(representative(points, self.count(photos), seed))

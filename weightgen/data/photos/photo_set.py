"""What every photo source gives."""

from dataclasses import dataclass

from torch import Tensor

from weightgen.errors import DataError


@dataclass(frozen=True)
class PhotoSet:
    """train: (N, 3, S, S), test: (M, 3, S, S), uint8; names: the photo of each crop, train's, then test's."""

    train: Tensor
    test: Tensor
    names: tuple[str, ...]
    attribution: str = ""


def check_counts(size: int, train: int, test: int, min_scale: float) -> None:
    """DataError: sizes, counts or scale out of range."""
    if size < 16 or train < 1 or test < 1:
        raise DataError(
            f"photos: size={size}, train={train}, test={test}; want size >= 16 and at least one crop of each"
        )
    if not 0 < min_scale <= 1:
        raise DataError(f"photos.min_scale={min_scale}: a crop's side as a share of the photo's, in (0, 1]")

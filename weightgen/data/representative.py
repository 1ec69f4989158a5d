"""A few members of a set that span it."""

from typing import TYPE_CHECKING

from weightgen.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def representative(points: "Tensor", k: int, seed: int) -> list[int]:
    """The member nearest to each centre of k-means (E2GAN, arXiv 2401.06127): of text embeddings, the concepts that the
    base translator trains on; of image features, the photos.

    points: (N, E) -> k distinct row numbers, ascending. Raises DataError unless 1 <= k <= N.
    """
    import numpy as np
    from sklearn.cluster import KMeans

    rows = points.double().cpu().numpy()
    if not 1 <= k <= len(rows):
        raise DataError(f"cannot choose {k} representative members out of {len(rows)}")
    centres = KMeans(k, n_init=10, random_state=seed).fit(rows).cluster_centers_
    chosen: list[int] = []
    for centre in centres:
        distances = ((rows - centre) ** 2).sum(-1)
        distances[chosen] = np.inf  # equal points: two centres may share their nearest member
        chosen.append(int(distances.argmin()))
    return sorted(chosen)

"""Members that span a set."""

import pytest
import torch

from weightgen.data.representative import representative
from weightgen.errors import DataError


def test_representative_takes_one_of_each_cluster():
    centres = torch.tensor([[10.0, 0], [0, 10], [-10, 0], [0, -10]])
    spread = torch.tensor([[0.0, 0], [1, 0], [-1, 0], [0.2, 0.1]])
    points = (centres[:, None] + spread).reshape(16, 2)
    # a cluster's mean is its centre + (0.05, 0.025): the member at offset 0 is nearest
    assert representative(points, 4, seed=0) == [0, 4, 8, 12]
    assert representative(points, 16, seed=0) == list(range(16))


def test_representative_is_distinct_among_equals():
    assert representative(torch.eye(3).repeat(2, 1), 3, seed=1) == sorted(
        set(representative(torch.eye(3).repeat(2, 1), 3, 1))
    )
    with pytest.raises(DataError, match="5 representative members out of 3"):
        representative(torch.eye(3), 5, seed=0)

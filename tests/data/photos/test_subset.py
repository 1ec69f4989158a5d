"""Representative photos: what is chosen, and what that changes."""

import pytest
import torch

from experiments.pipeline.build import Pipeline
from experiments.stages import photos as stage
from tests.helpers.configs import composed
from tests.helpers.keys import keys
from weightgen.data.photos.subset import EveryPhoto, KMeansSubset, RandomSubset
from weightgen.errors import DataError


def mean_colour(images):
    return images.float().mean((2, 3))


def photos():
    """Four clusters of four by colour; of each the first is its middle."""
    centres = torch.tensor([[40, 40, 40], [200, 40, 40], [40, 200, 40], [40, 40, 200]])
    offsets = torch.tensor([[1, 1, 1], [9, 0, 0], [0, 9, 0], [0, 0, 9]])  # mean (2.5, 2.5, 2.5)
    colours = (centres[:, None] + offsets).reshape(16, 3).to(torch.uint8)
    return colours[:, :, None, None].expand(16, 3, 16, 16).contiguous()


def test_kmeans_takes_the_middle_of_each_cluster():
    assert KMeansSubset(0.25, features=mean_colour).rows(photos(), seed=0).tolist() == [0, 4, 8, 12]


def test_random_is_seeded_and_everything_is_everything():
    rows = RandomSubset(0.25).rows(photos(), seed=3)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == 4
    assert torch.equal(rows, RandomSubset(0.25).rows(photos(), seed=3))
    assert EveryPhoto().rows(photos(), 0).tolist() == list(range(16))


def test_the_same_epochs_are_fewer_steps():
    budget = {"steps": 100, "points": [1, 10, 50], "l1_weight": 3.0}
    assert RandomSubset(0.1).budget(budget) == {"steps": 10, "points": [1, 5], "l1_weight": 3.0}
    assert RandomSubset(0.1, same_epochs=False).budget(budget) == budget
    assert RandomSubset(0.1).budget({"steps": 0, "points": []}) == {"steps": 0, "points": []}
    assert RandomSubset(0.5, concepts=0.3).concepts(10, 6) == 3
    assert (RandomSubset(0.5).concepts(10, 6), EveryPhoto().concepts(4, 6)) == (6, 4)


@pytest.mark.parametrize("options", [{"fraction": 0}, {"fraction": 1.5}, {"fraction": 0.5, "concepts": 0}])
def test_bad_shares_are_named(options):
    with pytest.raises(DataError, match=r"subset\."):
        RandomSubset(**options)


def test_a_subset_changes_base_and_fine_tuning_and_nothing_before():
    def of(*overrides):
        return Pipeline(composed("experiment=smoke", *overrides))

    before, after = keys(of()), keys(of("subset=random"))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == set(before) - {"photos", "pairs"}
    p = of("subset=random", "subset.fraction=0.5")
    assert p.base_spec.config["budget"]["steps"] == 6
    assert stage.subset_key(of().options) == {}
    assert "subset" not in of().base_spec.config

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from weightgen.evaluation.distances import TargetStatistics, frechet_distance, gaussian_distance, kernel_distance


def _sets(n, m, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    return x, torch.randn(m, d, generator=generator) @ torch.diag(torch.linspace(0.3, 2, d)) + 0.5


def _scipy(x, y):
    x, y = x.double().numpy(), y.double().numpy()
    a, b = np.cov(x.T), np.cov(y.T)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b).real))


def test_one_dimension_has_a_closed_form():
    # d^2 = (mu_x - mu_y)^2 + (s_x - s_y)^2 with unbiased variances 2 and 8.
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [7.0]])
    assert frechet_distance(x, y) == pytest.approx(16 + (8**0.5 - 2**0.5) ** 2, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(60, 50), (60, 6), (6, 60)])
def test_agrees_with_scipys_matrix_root(n, m):
    x, y = _sets(n, m, 12)
    assert frechet_distance(x, y) == pytest.approx(_scipy(x, y), rel=1e-4)


def test_agrees_with_torchmetrics():
    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1)

    x, y = _sets(40, 30, 12)
    metric = FrechetInceptionDistance(feature=Flat(), normalize=True, input_img_size=(3, 2, 2))
    metric.update(y.view(-1, 3, 2, 2), real=True)
    metric.update(x.view(-1, 3, 2, 2), real=False)
    assert frechet_distance(x, y) == pytest.approx(metric.compute().item(), rel=1e-3)


def test_a_shift_of_a_singular_cloud_costs_its_square():
    x, _ = _sets(5, 5, 200)
    shift = torch.zeros(200)
    shift[3] = 3.0
    assert frechet_distance(x, x + shift) == pytest.approx(9.0, rel=1e-4)
    assert 0.0 <= frechet_distance(x, x) < 1e-9


def test_statistics_stand_for_their_features():
    x, y = _sets(30, 20, 7)
    statistics = TargetStatistics.of(y)
    assert statistics.root.shape == (7, 7)
    torch.testing.assert_close(statistics.root.T @ statistics.root, torch.cov(y.double().T))
    assert frechet_distance(x, statistics) == frechet_distance(x, y)


def test_kernel_distance_is_torchmetrics_for_equal_sizes():
    x, y = _sets(20, 20, 6)
    assert kernel_distance(x, y) == pytest.approx(poly_mmd(x.double(), y.double()).item(), rel=1e-10)


def test_kernel_distance_by_hand_for_unequal_sizes():
    # k(a, b) = (ab + 1)^3: within x, pairs of (0, 1, 1), (1 + 1 + 8) / 3; within y 8; across 17 / 3.
    x, y = torch.tensor([[0.0], [1.0], [1.0]]), torch.tensor([[1.0], [1.0]])
    assert kernel_distance(x, y) == pytest.approx(10 / 3 + 8 - 2 * 17 / 3)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="N >= 2"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="two samples"):
        kernel_distance(torch.zeros(1, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="different sizes"):
        frechet_distance(torch.zeros(3, 4), torch.zeros(3, 5))


def test_gaussian_distance_by_hand():
    # two targets at distance 2, so s = 2 and 2 s^2 = 8; outputs at 0 and 4
    x, y = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [3.0]])
    within_x, within_y = np.exp(-16 / 8), np.exp(-4 / 8)
    between = (2 * np.exp(-1 / 8) + 2 * np.exp(-9 / 8)) / 4
    assert gaussian_distance(x, y) == pytest.approx(within_x + within_y - 2 * between, rel=1e-12)


def test_gaussian_distance_is_unbiased_and_grows_with_a_shift():
    draws = torch.randn(200, 2, 20, 3, generator=torch.Generator().manual_seed(0))
    same = np.array([gaussian_distance(x, y) for x, y in draws])
    assert abs(same.mean()) < 3 * same.std() / len(same) ** 0.5
    far, farther = (np.mean([gaussian_distance(x + shift, y) for x, y in draws]) for shift in (1, 3))
    assert 0.1 < far < farther < 2


def test_equal_targets_have_a_distance_to_others():
    """A concept whose targets are all alike has no scale: what differs from them is as far as can be."""
    assert gaussian_distance(torch.ones(3, 2), torch.zeros(3, 2)) == pytest.approx(2)
    assert gaussian_distance(torch.zeros(3, 2), torch.zeros(3, 2)) == 0

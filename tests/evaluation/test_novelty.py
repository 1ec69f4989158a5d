import numpy as np
import pytest

from weightgen.evaluation.novelty import (
    NOVELTY_COLUMNS,
    hull_distance,
    interpolation_distances,
    leave_one_out,
    nearest_distances,
    novelty,
    spread,
)

# An equilateral triangle's corners around 0, each at distance 2: the spread is 2.
TRAIN = 2 * np.array([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])


def test_spread_is_the_rms_distance_from_the_mean():
    assert spread(TRAIN) == pytest.approx(2)
    assert spread(TRAIN + 100) == pytest.approx(2)


def test_nearest_and_interpolation_on_known_points():
    points = np.array([TRAIN[1], [0.0, 0.0], (TRAIN[0] + TRAIN[1]) / 2, [6.0, 0.0], [-3.0, 0.0]])
    distance, index = nearest_distances(points, TRAIN)
    # A copy; the centre; an edge's middle, half a side of 2 sqrt 3 away; outside a corner; outside an edge.
    np.testing.assert_allclose(distance, [0, 1, 3**0.5 / 2, 2, 7**0.5 / 2], atol=1e-12)
    assert index.tolist()[0] == 1
    assert index.tolist()[3] == 0
    np.testing.assert_allclose(interpolation_distances(points, TRAIN), [0, 0, 0, 2, 1], atol=1e-7)


def test_only_the_k_nearest_are_blended():
    centre = np.array([[1e-6, 0.0]])
    assert interpolation_distances(centre, TRAIN, k=1)[0] == pytest.approx(1, abs=1e-5)
    assert interpolation_distances(centre, TRAIN, k=2)[0] == pytest.approx(0.5, abs=1e-5)


def test_hull_distance_is_exact_at_any_scale():
    corners = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for scale in (1e-6, 1.0, 1e6):
        assert hull_distance(np.zeros(3), scale * corners) == pytest.approx(scale / 3**0.5, rel=1e-6)


def test_interpolation_is_never_farther_than_the_nearest():
    rng = np.random.default_rng(0)
    train, points = rng.normal(size=(12, 40)), rng.normal(size=(6, 40))
    nearest, _ = nearest_distances(points, train)
    hull = interpolation_distances(points, train)
    assert (hull < nearest).all()
    mixtures = rng.dirichlet(np.ones(12), size=500)
    best = [np.linalg.norm(mixtures @ train - point, axis=1).min() / spread(train) for point in points]
    assert (interpolation_distances(points, train, k=12) <= best).all()


def test_leave_one_out():
    assert leave_one_out(TRAIN) == pytest.approx(3**0.5)


def test_rows():
    rows = novelty(TRAIN[[2]] * 1.5, TRAIN, ["new"], ["a", "b", "c"], "generated")
    (row,) = rows
    assert (tuple(row), row["concept"], row["method"]) == (NOVELTY_COLUMNS, "new", "generated")
    assert row["nearest"] == "c"
    distances = (row["nearest_distance"], row["interpolation_distance"], row["mean_distance"])
    assert distances == pytest.approx((0.5, 0.5, 1.5))


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="different training sets"):
        spread(np.ones((3, 2)))
    with pytest.raises(ValueError, match="do not compare"):
        nearest_distances(np.ones((1, 3)), TRAIN)
    with pytest.raises(ValueError, match="names"):
        novelty(TRAIN, TRAIN, ["one"], ["a", "b", "c"], "generated")

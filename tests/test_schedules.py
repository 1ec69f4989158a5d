"""Learning rates by hand."""

import pytest

from weightgen.schedules import Schedule


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


def test_without_an_end_it_warms_up_and_stays():
    assert rates(Schedule(), 3) == [1, 1, 1]
    assert rates(Schedule(warmup_steps=3), 6) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_it_falls_in_a_straight_line_from_start_to_end_and_stays_there():
    assert rates(Schedule(3, start=5, end=10), 12) == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]
    )
    assert rates(Schedule(end=4, floor=0.1), 6) == pytest.approx([1, 0.775, 0.55, 0.325, 0.1, 0.1])
    assert rates(Schedule(start=4, end=4), 6) == [1, 1, 1, 1, 1, 0]  # no step is left to fall in


def test_half_a_cosine_ends_at_the_floor():
    assert rates(Schedule(end=4, cosine=True), 5) == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)
    assert Schedule(end=4, floor=0.2, cosine=True)(9) == pytest.approx(0.2)

"""Frames of a burst get the times at which they were taken, as far as their arrival shows it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.burst_spreader import BurstSpreader


def spread(times_s: list[float], step_s: float = 0.04) -> list[float]:
    spreader = BurstSpreader(step_s)
    return [spreader.spread(time_s) for time_s in times_s]


def bursts(count: int, size: int, within_s: float, step_s: float = 0.04) -> list[float]:
    """The times of arrival of ``count`` frames that come ``size`` at once."""
    return [i // size * size * step_s + i % size * within_s for i in range(count)]


@pytest.mark.parametrize(
    "times_s",
    [
        [i * 0.04 for i in range(50)],
        [i / 240 for i in range(600)][300:],
        [0.0, 0.04, 0.08, 0.58, 0.60, 1.6, 1.64],
        [float(i) for i in range(10)],
        [0.1 * i for i in range(40)] + [4 + i / 60 for i in range(60)],
    ],
    ids=["25 fps", "240 fps", "variable", "1 fps", "10 to 60 fps"],
)
def test_usual_times_are_kept(times_s: list[float]) -> None:
    assert spread(times_s, times_s[1] - times_s[0]) == times_s


@pytest.mark.parametrize("size", [2, 5, 25, 150])
@pytest.mark.parametrize("within_s", [0.0, 0.001, 0.009])
def test_bursts_are_spread_to_the_usual_step(size: int, within_s: float) -> None:
    times_s = spread(bursts(600, size, within_s))
    steps_s = [after - before for before, after in itertools.pairwise(times_s)]
    assert min(steps_s) > 0.03
    assert max(steps_s) < 0.06
    assert abs(times_s[-1] - 599 * 0.04) < 0.5


def test_the_usual_step_is_learned() -> None:
    times_s = spread(bursts(120, 4, 0.001, step_s=0.1))
    steps_s = [after - before for before, after in itertools.pairwise(times_s[40:])]
    assert min(steps_s) > 0.09


def test_frames_without_a_pause_before_them_are_not_spread() -> None:
    """A camera that becomes faster, not a burst: nothing was held back."""
    times_s = [0.1 * i for i in range(40)] + [4 + i / 100 for i in range(300)]
    assert spread(times_s, 0.1)[-1] == pytest.approx(times_s[-1], abs=0.5)


def test_missing_times_follow_at_the_usual_step() -> None:
    spreader = BurstSpreader(0.04)
    assert [spreader.spread(None) for _ in range(3)] == pytest.approx([0, 0.04, 0.08])


@settings(max_examples=200)
@given(st.lists(st.one_of(st.none(), st.floats(-100, 1e6)), max_size=60))
def test_times_always_increase(given_s: list[float | None]) -> None:
    spreader = BurstSpreader()
    times_s = [spreader.spread(time_s) for time_s in given_s]
    assert all(after > before for before, after in itertools.pairwise(times_s))


@pytest.mark.parametrize("order", [(1, 0), (0, 3, 1, 2), (0, 2, 1)])
def test_times_out_of_order_do_not_run_faster(order: tuple[int, ...]) -> None:
    """Cameras with B-frames whose stamps are in the order of decoding."""
    count, spreader = len(order), BurstSpreader()
    times_s = [spreader.spread(0.04 * (i // count * count + order[i % count])) for i in range(600)]
    assert times_s[-1] == pytest.approx(599 * 0.04, abs=0.2)

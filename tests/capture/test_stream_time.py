"""Stream times of recordings with odd stamps, and of live streams whose frames arrive in any pattern."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.capture.stream_time import Hold, LiveTimes, recorded_times

IMAGE = np.zeros((2, 2, 3), np.uint8)
HOUR_S = 3600.0


def times_of(stamps_s: list[float | None], step_s: float | None = 0.04) -> list[float]:
    return [time_s for _, time_s in recorded_times(((IMAGE, stamp_s) for stamp_s in stamps_s), step_s)]


def steady(count: int, start_s: float = 0.0, step_s: float = 0.04) -> list[float | None]:
    return [start_s + i * step_s for i in range(count)]


@pytest.mark.parametrize("wild_s", [HOUR_S, -HOUR_S, 26.5 * HOUR_S, 11.0])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_few_wild_stamps_are_replaced(wild_s: float, length: int) -> None:
    stamps_s: list[float | None] = [
        *steady(50),
        *[wild_s + i for i in range(length)],
        *steady(50, 50.0 / 25 + 0.04 * length),
    ]
    assert times_of(stamps_s) == pytest.approx(steady(100 + length))


def test_a_gap_is_kept() -> None:
    assert times_of(steady(20) + steady(20, HOUR_S)) == pytest.approx(steady(20) + steady(20, HOUR_S))


def test_stamps_that_begin_again_are_continued() -> None:
    """Two recordings one after the other, or a counter that overflowed."""
    assert times_of(steady(50, 95_443.0) + steady(50)) == pytest.approx(steady(100))


@pytest.mark.parametrize("start_s", [40 * HOUR_S, -40 * HOUR_S, -2.0])
def test_a_recording_may_begin_at_any_stamp(start_s: float) -> None:
    assert times_of(steady(50, start_s)) == pytest.approx(steady(50))


def test_repeated_stamps_are_spread() -> None:
    stamps_s: list[float | None] = [i // 2 * 0.04 for i in range(200)]
    times_s = times_of(stamps_s)
    assert times_s[-1] == pytest.approx(99.5 * 0.04, abs=0.1)
    assert min(b - a for a, b in itertools.pairwise(times_s[20:])) > 0.01


@pytest.mark.parametrize("stamp_s", [0.0, 7.0, None])
def test_without_stamps_the_frame_rate_counts(stamp_s: float | None) -> None:
    times_s = times_of([stamp_s] * 500)
    assert times_s[-1] - times_s[0] == pytest.approx(499 * 0.04)


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-9, 30)), max_size=40))
def test_recorded_times_always_increase(stamps_s: list[float | None]) -> None:
    times_s = times_of(stamps_s)
    assert len(times_s) == len(stamps_s)
    assert all(a < b for a, b in itertools.pairwise(times_s))


@dataclass
class Network:
    """A camera with 25 frames a second; ``delivered_s`` is when a frame that was taken at a time arrives."""

    delivered_s: Callable[[float], float]
    stamp_of: Callable[[float], float | None] = lambda taken_s: taken_s
    fps: float = 25.0
    decode_s: float = 0.002

    def read(self, seconds: float, hold: Hold, fault: str = "") -> Iterator[tuple[float, float, float]]:
        """(taken, stream time, released) of all frames, as ``LiveSource`` reads them; and what went wrong last."""
        times, now_s = LiveTimes(-math.inf, 1 / self.fps, fault), 0.0
        for i in range(round(seconds * self.fps)):
            taken_s = i / self.fps
            now_s = max(now_s, self.delivered_s(taken_s)) + self.decode_s
            time_s = times.next(self.stamp_of(taken_s), now_s)
            if not times.fault:
                now_s += hold.wait_s(time_s, now_s)
            self.fault = times.fault
            yield taken_s, time_s, now_s


def in_bursts(seconds: float) -> Callable[[float], float]:
    """Frames arrive together when the last of ``seconds`` was taken."""
    return lambda taken_s: (math.floor(taken_s / seconds + 1e-6) + 1) * seconds


def stalled(start_s: float, seconds: float, every_s: float = math.inf) -> Callable[[float], float]:
    def delivered_s(taken_s: float) -> float:
        phase_s = taken_s % every_s if math.isfinite(every_s) else taken_s
        return taken_s + (start_s + seconds - phase_s if start_s <= phase_s < start_s + seconds else 0.0)

    return delivered_s


ARRIVALS = {
    "steady": lambda taken_s: taken_s,
    "pairs": in_bursts(0.08),
    "0.2 s": in_bursts(0.2),
    "1 s": in_bursts(1.0),
    "HLS 6 s": in_bursts(6.0),
    "HLS 10 s": in_bursts(10.0),
    "stalls": stalled(2.0, 4.0, every_s=6.0),
    "one stall": stalled(12.0, 4.0),
    "joined late": lambda taken_s: max(taken_s, 8.0),
}


@pytest.mark.parametrize("arrival", ARRIVALS)
def test_stream_times_follow_the_stamps_for_any_arrival(arrival: str) -> None:
    rows = list(Network(ARRIVALS[arrival]).read(60, Hold()))
    first_s = rows[0][1]
    assert [time_s - first_s for _, time_s, _ in rows] == pytest.approx([taken_s for taken_s, _, _ in rows])


@pytest.mark.parametrize("order", [(2, 1, 3, 0), (1, 0), (2, 0, 1), (0, 4, 2, 1, 3)])
@pytest.mark.parametrize("fps", [10.0, 20.0, 25.0])
def test_stamps_of_other_frames_delay_no_frame(order: tuple[int, ...], fps: float) -> None:
    """B-frames, from a server that stamps frames in the order in which it sends them."""

    def stamp_s(taken_s: float) -> float:
        group, place = divmod(round(taken_s * fps), len(order))
        return (group * len(order) + order[place]) / fps

    network = Network(stalled(2.0, 0.3, every_s=4.0), stamp_s, fps=fps)
    rows = [row for row in network.read(30, Hold()) if row[0] > 10 and row[0] % 4 < 2]  # before a stall
    assert max(now_s - taken_s for taken_s, _, now_s in rows) < 0.1
    assert rows[-1][1] - rows[0][1] == pytest.approx(rows[-1][0] - rows[0][0], abs=0.3)
    assert network.fault == "are out of order"


@pytest.mark.parametrize("arrival", ["0.2 s", "1 s", "HLS 6 s", "HLS 10 s", "stalls"])
def test_bursts_are_released_at_their_own_speed(arrival: str) -> None:
    rows = list(Network(ARRIVALS[arrival]).read(90, Hold()))
    released_s = [released_s for _, _, released_s in rows if released_s > 25]
    steps_s = sorted(b - a for a, b in itertools.pairwise(released_s))
    assert steps_s[-1] < 1.5, "longest silence"
    assert steps_s[len(steps_s) // 20] > 0.03, "at most 5 % come at once"


def test_segments_are_released_at_their_own_speed_from_the_start() -> None:
    """A player of HLS begins with three segments at once, and then one comes every 6 s."""
    begin = Network(lambda taken_s: max(0.0, in_bursts(6.0)(taken_s) - 18.0))
    released_s = [released_s for _, _, released_s in begin.read(120, Hold(from_start=True))]
    assert max(b - a for a, b in itertools.pairwise(released_s)) < 1.0
    assert released_s[-1] < 120, "the delay has become shorter"


@pytest.mark.parametrize("arrival", ["steady", "one stall", "joined late"])
def test_the_delay_after_a_silence_ends(arrival: str) -> None:
    rows = list(Network(ARRIVALS[arrival]).read(60, Hold()))
    assert rows[-1][2] - rows[-1][0] < 0.05


def test_a_steady_stream_is_not_delayed() -> None:
    rows = list(Network(lambda taken_s: taken_s + 0.02 * (round(taken_s * 25) % 3)).read(30, Hold()))
    assert max(released_s - taken_s for taken_s, _, released_s in rows) < 0.1


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, -26.5 * HOUR_S])
@pytest.mark.parametrize("wild_frames", [1, 10**6], ids=["one stamp", "all later stamps"])
def test_a_jump_of_live_stamps_changes_nothing(jump_s: float, wild_frames: int) -> None:
    def stamp_of(taken_s: float) -> float:
        return taken_s + (jump_s if 0 <= round(taken_s * 25) - 250 < wild_frames else 0.0)

    network = Network(ARRIVALS["0.2 s"], stamp_of)
    rows = list(network.read(30, Hold()))
    assert network.fault == ""
    assert [time_s - released_s for _, time_s, released_s in rows] == pytest.approx([0.0] * len(rows), abs=0.6)


@pytest.mark.parametrize(
    ("stamp_of", "fault"),
    [
        (lambda _: 5.0, "stand still"),
        (lambda _: None, "stand still"),
        (lambda taken_s: taken_s * 0.4, "0.4 times"),
        (lambda taken_s: taken_s * 2, "run"),
        (lambda taken_s: taken_s + HOUR_S * (round(taken_s * 25) % 2), "jump"),
    ],
)
@pytest.mark.parametrize("arrival", ["steady", "0.2 s"])
def test_wrong_stamps_are_replaced_by_arrival(
    stamp_of: Callable[[float], float | None], fault: str, arrival: str
) -> None:
    network = Network(ARRIVALS[arrival], stamp_of)
    rows = list(network.read(120, Hold()))
    assert fault in network.fault
    assert all(a[1] < b[1] for a, b in itertools.pairwise(rows))
    later = rows[len(rows) // 2 :]
    assert later[-1][1] - later[0][1] == pytest.approx(60, abs=3)
    steps_s = sorted(b[1] - a[1] for a, b in itertools.pairwise(later))
    assert steps_s[len(steps_s) // 10] > 0.02
    assert later[-1][2] - later[-1][0] < 0.5, "frames are not held"


@pytest.mark.parametrize("fps", [0.2, 1.0])
def test_a_slow_camera_without_stamps_uses_arrival(fps: float) -> None:
    rows = list(Network(ARRIVALS["steady"], lambda _: 0.0, fps=fps).read(100 / fps, Hold()))
    steps_s = [b[1] - a[1] for a, b in itertools.pairwise(rows[5:])]
    assert steps_s == pytest.approx([1 / fps] * len(steps_s), rel=0.05)


def test_a_new_connection_continues_the_time() -> None:
    first = LiveTimes()
    last_s = [first.next(i * 0.04, 1.0 + i * 0.001) for i in range(100)][-1]
    assert last_s == pytest.approx(1 + 99 * 0.04)
    assert LiveTimes(last_s).next(0.0, 2.0) > last_s
    assert LiveTimes(last_s).next(500.0, 60.0) == 60.0
    assert LiveTimes(last_s, fault="are invented").next(500.0, 2.0) > last_s


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-9, 9)), st.floats(0, 20)), max_size=60),
    st.booleans(),
)
def test_live_times_always_increase_and_holds_are_short(
    frames: list[tuple[float | None, float]], from_start: bool
) -> None:
    times, hold, now_s, last_s = LiveTimes(), Hold(from_start), 0.0, -math.inf
    for stamp_s, elapsed_s in frames:
        now_s += elapsed_s
        time_s = times.next(stamp_s, now_s)
        assert time_s > last_s
        last_s = time_s
        assert 0 <= hold.wait_s(time_s, now_s) <= 5

"""The same scene gives the same people and the same alerts, in whatever bursts its frames arrive."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fakes import METADATA
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from app.capture.stream_time import recorded_times
from app.core.types import Box, Detection, Frame
from app.pipeline import alert_policy
from app.pipeline.event_factory import EventFactory
from app.pipeline.monitor import Monitor
from app.settings.load import load_settings
from app.settings.monitor import PolicySettings
from app.settings.vision import TrackingSettings
from app.vision.tracker import Tracker

BARE, MASK = (0.01, 0.98, 0.01), (0.98, 0.01, 0.01)
IMAGE = np.zeros((480, 640, 3), np.uint8)
SECONDS = 16.0
EVENTS = EventFactory("run", "door")
LONGEST_PAUSE_S = 3.2
"""After 4 s without a frame, another person may stand there."""


@dataclass(frozen=True)
class Face:
    detection: Detection
    answer: tuple[float, ...]


def scene(fps: float, speed: float, seed: int) -> list[list[Face]]:
    """A bare man who stands still, a man who walks to the right and puts on a mask, and one who walks to the left."""
    noise = random.Random(seed)

    def face(x: float, y: float, size: float, answer: tuple[float, ...]) -> Face:
        return Face(Detection(Box(x + noise.gauss(0, 1), y + noise.gauss(0, 1), size, 1.2 * size), 0.9), answer)

    frames = []
    for time_s in (i / fps for i in range(round(SECONDS * fps))):
        faces = [face(240, 60, 140, BARE)]
        if 2 < time_s < 11:
            faces.append(face(20 + 40 * speed * (time_s - 2), 300, 50, BARE if time_s < 8.5 else MASK))
        if 3 < time_s < 9:
            faces.append(face(600 - 60 * speed * (time_s - 3), 380, 45, MASK))
        noise.shuffle(faces)
        frames.append(faces)
    return frames


def arrivals(frames: int, fps: float, sizes: list[int], within_s: float) -> list[float]:
    """Stamps of arrival: each burst arrives when its last frame is taken."""
    times_s: list[float] = []
    for burst in range(frames):
        first = len(times_s)
        last = min(first + min(sizes[burst % len(sizes)], int(LONGEST_PAUSE_S * fps)), frames) - 1
        for i in range(first, last + 1):
            earliest_s = times_s[-1] + 1e-4 if times_s else 0.0
            times_s.append(max(last / fps + (i - first) * within_s, earliest_s))
        if last == frames - 1:
            break
    return times_s


def watch(frames: list[list[Face]], times_s: list[float]) -> tuple[int, list[str]]:
    """The number of people and the kinds of events."""
    tracker, state = Tracker(TrackingSettings(), METADATA), alert_policy.PolicyState()
    people: set[int] = set()
    kinds: list[str] = []
    for index, (faces, time_s) in enumerate(zip(frames, times_s, strict=True)):
        left = tracker.update([face.detection for face in faces], time_s)
        for track in tracker.due(32):
            nearest = max(faces, key=lambda face: face.detection.box.iou(track.box))
            tracker.classified(track.id, nearest.answer, usable=True)
        tracks = tracker.tracks()
        people |= {track.id for track in tracks}
        frame = Frame(IMAGE, index, time_s, time_s, time_s, "door")
        state, events = alert_policy.step(PolicySettings(cooldown_s=0), EVENTS, state, frame, tracks, left)
        kinds += [event.kind.value for event in events]
    return len(people), kinds


@settings(max_examples=12, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(
    st.sampled_from([10.0, 15.0, 25.0, 30.0]),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.lists(st.one_of(st.integers(1, 5), st.integers(1, 80)), min_size=1, max_size=12),
    st.floats(0, 0.024),
    st.booleans(),
)
@example(25.0, 1.0, [2], 0.001, False)
@example(25.0, 3.0, [5], 0.004, False)
@example(25.0, 3.0, [50], 0.002, False)
@example(10.0, 3.0, [30], 0.0, True)
def test_any_bursts_give_the_same_people_and_alerts(
    fps: float, speed: float, sizes: list[int], within_s: float, recorded: bool
) -> None:
    frames = scene(fps, speed, seed=len(sizes))
    times_s = arrivals(len(frames), fps, sizes, within_s)
    if recorded:
        times_s = [time_s for _, time_s in recorded_times(((IMAGE, time_s) for time_s in times_s), 1 / fps)]
    expected = watch(frames, [i / fps for i in range(len(frames))])
    assert expected == (3, ["no_mask", "no_mask", "resolved"])
    assert watch(frames, times_s) == expected, (fps, speed, sizes, within_s, recorded)


@pytest.mark.parametrize("clip", ["plain.mp4", "two_at_once.mkv"])
def test_a_recording_with_stamps_of_arrival_gives_the_same_people_and_alerts(shared_data: Path, clip: str) -> None:
    path = shared_data.parent / "field" / clip
    if not path.exists():
        pytest.skip("recordings of the field (../shared/field) are not part of the project")
    kinds: list[str] = []
    people: set[int] = set()
    with Monitor(load_settings(None, {"camera": [{"uri": str(path), "pace": "fast"}]})) as monitor:
        for result in monitor:
            kinds += [event.kind.value for event in result.events]
            people |= {track.id for track in result.tracks}
    assert (len(people), kinds) == (2, ["no_mask"])

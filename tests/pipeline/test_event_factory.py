"""Events and their ids."""

from dataclasses import replace

import pytest
from fakes import plain_frame

from app.core.types import Box, EventKind, FaceLabel, Label, Track
from app.pipeline.event_factory import EventFactory

FACTORY = EventFactory("run", "door")
TRACK = Track(7, Box(10, 20, 40, 40), FaceLabel(Label.NO_MASK, 0.9), (0, 0), 0.0, 0.3, 9, 9, True)


def test_an_id_depends_on_the_content_only() -> None:
    frame = plain_frame(3)
    first = FACTORY.alert(EventKind.NO_MASK, TRACK, frame, 1.0, 1)
    again = EventFactory("run", "door").alert(EventKind.NO_MASK, replace(TRACK, id=8), frame, 1.0, 1)
    assert first.id == again.id  # a track's number depends on where the analysis began
    assert len(first.id) == 16
    int(first.id, 16)


@pytest.mark.parametrize(
    "other",
    [
        EventFactory("another run", "door").alert(EventKind.NO_MASK, TRACK, plain_frame(3), 1.0, 1),
        EventFactory("run", "hall").alert(EventKind.NO_MASK, TRACK, plain_frame(3), 1.0, 1),
        FACTORY.alert(EventKind.INCORRECT, TRACK, plain_frame(3), 1.0, 1),
        FACTORY.alert(EventKind.NO_MASK, TRACK, plain_frame(4), 1.0, 1),
        FACTORY.alert(EventKind.NO_MASK, replace(TRACK, box=Box(60, 20, 40, 40)), plain_frame(3), 1.0, 1),
    ],
)
def test_different_events_have_different_ids(other: object) -> None:
    assert FACTORY.alert(EventKind.NO_MASK, TRACK, plain_frame(3), 1.0, 1) != other
    assert FACTORY.alert(EventKind.NO_MASK, TRACK, plain_frame(3), 1.0, 1).id != other.id  # type: ignore[attr-defined]


def test_camera_events_differ_while_the_stream_time_stands_still() -> None:
    offline = [FACTORY.of_camera(EventKind.CAMERA_OFFLINE, 0.0, wall_s, 10.0, "lost") for wall_s in (100.0, 200.0)]
    assert offline[0].id != offline[1].id


def test_a_resolved_event_refers_to_its_alert() -> None:
    alert = FACTORY.alert(EventKind.NO_MASK, TRACK, plain_frame(3), 1.0, 1)
    resolved = FACTORY.resolved(alert, TRACK, plain_frame(13), "mask")
    assert (resolved.resolves, resolved.reason, resolved.track_id) == (alert.id, "mask", 7)
    assert resolved.duration_s == pytest.approx(1.0)
    restarted = FACTORY.resolved_without_frame(alert, 5.3, 200.0, "restarted")
    assert (restarted.resolves, restarted.box) == (alert.id, None)
    assert restarted.duration_s == pytest.approx(5.0)


def test_two_changes_of_a_camera_in_one_frame_are_two_events() -> None:
    """Regression: they had one id, so the second was neither stored nor sent."""
    changes = [FACTORY.of_camera(EventKind.CAMERA_CHANGED, 1.0, 100.0, 0.0, reason) for reason in ("dark", "unsure")]
    assert changes[0].id != changes[1].id

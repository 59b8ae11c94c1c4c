"""Tracks that the classifier rejects as not a face: neither shown, counted nor alerted, but still blurred."""

from dataclasses import dataclass

import numpy as np
from fakes import METADATA, BoxesDetector, plain_frame

from app.core.types import Box, EventKind, Label
from app.pipeline.event_factory import EventFactory
from app.pipeline.frame_analyzer import AnalyzedFrame, FrameAnalyzer
from app.settings.monitor import PolicySettings
from app.settings.vision import DetectorSettings, TrackingSettings

BARE, POSTER = (0.02, 0.96, 0.02, 0.0), (0.0, 0.1, 0.0, 0.9)
FACE = Box(30, 30, 60, 60)


@dataclass(slots=True)
class Scene:
    """One detection that stays in its place; the classifier gives ``answer``."""

    analyzer: FrameAnalyzer
    index: int = 0

    def run(self, frames: int, answer: tuple[float, ...]) -> list[AnalyzedFrame]:
        results = []
        for _ in range(frames):
            pending = self.analyzer.detect_faces(plain_frame(self.index))
            rows = np.tile(np.array(answer, np.float32), (len(pending.due), 1))
            results.append(self.analyzer.complete(pending, rows))
            self.index += 1
        return results


def scene() -> Scene:
    metadata = METADATA.model_copy(update={"labels": (*METADATA.labels, Label.NOT_FACE)})
    detector = BoxesDetector(lambda _: [FACE])
    events, tracking = EventFactory("run", "door"), TrackingSettings(recheck_s=0.1, recheck_moving_s=0.1)
    settings = DetectorSettings(full_look_s=0, still_look_s=0)
    policy = PolicySettings(dwell_s=1.0, resolve_after_s=0.5)
    return Scene(FrameAnalyzer(detector, metadata, tracking, policy, events, 8, settings))


def test_a_rejected_detection_is_only_blurred() -> None:
    results = scene().run(60, POSTER)
    assert all(result.tracks == () and result.events == () for result in results)
    assert not any((results[-1].counts.seen | results[-1].counts.here).values())
    assert not any(results[-1].counts.now.values())
    assert results[-1].faces != ()
    assert [track.box for track in results[-1].rejected] == [FACE]


def test_a_later_rejection_resolves_the_alert_and_uncounts_the_person() -> None:
    door = scene()
    alerted = door.run(40, BARE)
    assert [event.kind for result in alerted for event in result.events] == [EventKind.NO_MASK]
    assert alerted[-1].counts.here == {Label.NO_MASK: 1}
    rejected = door.run(120, POSTER)
    assert [event.kind for result in rejected for event in result.events] == [EventKind.RESOLVED]
    last = rejected[-1]
    assert (last.tracks, last.alerts, last.left) == ((), (), ())
    assert not any((last.counts.seen | last.counts.here).values())


def test_a_rejection_can_be_reversed() -> None:
    door = scene()
    door.run(5, POSTER)
    last = door.run(60, BARE)[-1]
    assert [track.label.label for track in last.tracks] == [Label.NO_MASK]
    assert (last.counts.seen, last.counts.here) == ({Label.NO_MASK: 1}, {Label.NO_MASK: 1})
    assert len(last.alerts) == 1

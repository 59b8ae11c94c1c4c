"""Creates the events of a camera, with ids that depend only on their content."""

import hashlib
from dataclasses import dataclass, replace

from app.core.types import Event, EventKind, Frame, Track


@dataclass(frozen=True, slots=True)
class EventFactory:
    """Creates the events of one camera. ``origin`` makes ids unique: the id of the run for a live camera, that of the
    video for a video, whose events therefore have the same ids in every run."""

    origin: str
    camera: str

    def alert(
        self, kind: EventKind, track: Track, frame: Frame, duration_s: float, people: int, zone: str = ""
    ) -> Event:
        return self._of_face(kind, track, frame, duration_s, people=people, zone=zone)

    def resolved(self, alert: Event, track: Track, frame: Frame, reason: str) -> Event:
        """The event that ends ``alert``, because of what ``track`` does in ``frame``."""
        duration_s = frame.time_s - alert.time_s
        return self._of_face(
            EventKind.RESOLVED, track, frame, duration_s, reason=reason, resolves=alert.id, zone=alert.zone
        )

    def resolved_without_frame(self, alert: Event, time_s: float, wall_s: float, reason: str) -> Event:
        """The event that ends ``alert`` when its camera starts again."""
        return Event(
            id=self._id(EventKind.RESOLVED, time_s, alert.id),
            kind=EventKind.RESOLVED,
            camera=self.camera,
            time_s=time_s,
            wall_s=wall_s,
            track_id=alert.track_id,
            duration_s=max(0.0, time_s - alert.time_s),
            reason=reason,
            resolves=alert.id,
            zone=alert.zone,
        )

    def of_camera(
        self,
        kind: EventKind,
        time_s: float,
        wall_s: float,
        duration_s: float,
        reason: str = "",
        resolves: str = "",
        people: int = 1,
    ) -> Event:
        """An event of the camera itself. Its stream time may stand still, so the id depends on the wall clock; two
        changes of what it sees may begin with one frame."""
        id_ = self._id(kind, wall_s, resolves, reason)
        event = Event(id_, kind, self.camera, time_s, wall_s, duration_s=duration_s, reason=reason, resolves=resolves)
        return replace(event, people=people)

    def _of_face(
        self,
        kind: EventKind,
        track: Track,
        frame: Frame,
        duration_s: float,
        people: int = 1,
        reason: str = "",
        resolves: str = "",
        zone: str = "",
    ) -> Event:
        x, y = track.box.center
        return Event(
            id=self._id(kind, frame.time_s, resolves, f"{x:.1f} {y:.1f}"),
            kind=kind,
            camera=self.camera,
            time_s=frame.time_s,
            wall_s=frame.wall_s,
            track_id=track.id,
            confidence=track.label.confidence,
            duration_s=duration_s,
            box=track.box,
            reason=reason,
            resolves=resolves,
            people=people,
            frame_width_px=frame.image.shape[1],
            frame_height_px=frame.image.shape[0],
            zone=zone,
        )

    def _id(self, kind: EventKind, time_s: float, *content: str) -> str:
        """16 hex digits of a SHA-256 hash: a collision among 10 million events has a probability of 3e-6."""
        text = "\n".join((self.origin, self.camera, kind.value, f"{time_s * 1000:.0f}", *content))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

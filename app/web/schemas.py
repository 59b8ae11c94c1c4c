"""What the API tells, as models: the answers are made from them, and so is the OpenAPI document."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.event_records import iso_time
from app.alerts.export import HourRow
from app.alerts.health import AlertHealth
from app.capture.capture import SourceState
from app.core.types import Counts, Event, EventKind, Label
from app.pipeline.monitor import CameraView
from app.settings.source import redact
from app.web.mjpeg import OLD_STATES


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Faces(Record):
    """Faces or people by label."""

    mask: int = 0
    no_mask: int = 0
    incorrect: int = 0
    unsure: int = 0


class EventRecord(Record):
    """An event. ``wall_s`` is Unix time, ``time_s`` stream time; ``track_id`` is 0 where no person is meant, one of
    ``people`` where the alert is for a crowd."""

    id: str
    kind: EventKind
    camera: str
    at: str = Field(description="ISO 8601, UTC")
    wall_s: float
    time_s: float
    duration_s: float
    confidence: float
    track_id: int
    people: int
    reason: str
    resolves: str
    has_picture: bool
    acknowledged_s: float | None = Field(description="Unix time at which someone acknowledged it")


class CameraRecord(Record):
    """One camera now. ``id`` is its place in the settings, from 1."""

    id: int
    name: str
    state: SourceState
    is_live: bool = Field(description="a camera or stream, as opposed to a file")
    is_stale: bool = Field(description="the picture is old: do not take it for the present")
    note: str = Field(description="the last fault of its source")
    fps: float
    analysis_fps: float
    age_s: float | None = Field(description="age of its newest picture; null before the first")
    frames: int
    dropped: int = Field(description="frames that were not analysed, because a newer one came")
    reconnects: int
    now: Faces = Field(description="faces in the picture")
    seen: Faces = Field(description="people seen since the start")
    muted_until_s: float | None = Field(description="Unix time until which it sends no alerts")


class ChannelRecord(Record):
    """One way alerts go. ``state`` is ok, sending or retrying."""

    name: str
    state: str
    waiting: int
    delivered: int
    undelivered: int
    error: str


class DeliveryRecord(Record):
    ok: bool
    store_fault: str
    channels: list[ChannelRecord]


class Status(Record):
    """Everything as of now."""

    version: str
    started_s: float
    now_s: float
    cameras: list[CameraRecord]
    alerts: list[EventRecord] = Field(description="open alerts, oldest first")
    delivery: DeliveryRecord


class HourRecord(Record):
    """People seen in one hour, each counted once. ``compliance`` is the share with a mask worn well."""

    hour_s: int = Field(description="Unix time at which the hour began")
    people: int
    masked: int
    incorrect: int
    bare: int
    alerts: int
    compliance: float | None


class Compliance(Record):
    hours: list[HourRecord]
    total: HourRecord


class EventList(Record):
    events: list[EventRecord] = Field(description="newest first")


class CameraList(Record):
    cameras: list[CameraRecord]


class Mute(BaseModel):
    """How long a camera is to send no alerts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    minutes: int = Field(ge=1, le=1440)


class Muted(Record):
    muted_until_s: float | None


class Acknowledged(Record):
    id: str
    acknowledged_s: float


class TestResult(Record):
    __test__ = False  # pytest: this is no test

    channel: str
    ok: bool
    error: str


class TestResults(Record):
    __test__ = False

    results: list[TestResult]


class SessionRecord(Record):
    """``csrf`` goes into the header X-CSRF-Token of every POST that comes with the session's cookie."""

    csrf: str


class Fault(Record):
    error: str


def _faces(counts: Mapping[Label, int] | None) -> Faces:
    return Faces(**{label.value: (counts or {}).get(label, 0) for label in Label})


def camera_record(number: int, view: CameraView, muted_until_s: float | None) -> CameraRecord:
    status = view.status
    counts: Counts | None = view.counts
    is_stale = status.state in OLD_STATES
    return CameraRecord(
        id=number,
        name=view.camera,
        state=status.state,
        is_live=view.is_live,
        is_stale=is_stale,
        note=redact(status.last_error),
        fps=round(status.fps, 2),
        analysis_fps=0.0 if is_stale else round(view.analysis_fps, 2),
        age_s=None if view.frame is None else round(view.age_s, 2),
        frames=status.frames,
        dropped=view.dropped,
        reconnects=status.reconnects,
        now=Faces() if is_stale else _faces(counts.now if counts else None),
        seen=_faces(counts.seen if counts else None),
        muted_until_s=muted_until_s,
    )


def event_record(event: Event, has_picture: bool, acknowledged_s: float | None) -> EventRecord:
    return EventRecord(
        id=event.id,
        kind=event.kind,
        camera=event.camera,
        at=iso_time(event.wall_s),
        wall_s=event.wall_s,
        time_s=event.time_s,
        duration_s=event.duration_s,
        confidence=event.confidence,
        track_id=event.track_id,
        people=event.people,
        reason=redact(event.reason),
        resolves=event.resolves,
        has_picture=has_picture,
        acknowledged_s=acknowledged_s,
    )


def delivery_record(health: AlertHealth) -> DeliveryRecord:
    channels = [
        ChannelRecord(
            name=each.name,
            state=each.state,
            waiting=each.waiting,
            delivered=each.delivered,
            undelivered=each.undelivered,
            error=redact(each.error),
        )
        for each in health.channels
    ]
    return DeliveryRecord(ok=health.ok, store_fault=health.store_fault or health.crash, channels=channels)


def hour_record(row: HourRow) -> HourRecord:
    seen = row.seen
    return HourRecord(
        hour_s=seen.hour_s,
        people=seen.people,
        masked=seen.masked,
        incorrect=seen.incorrect,
        bare=seen.bare,
        alerts=row.alerts,
        compliance=seen.compliance,
    )

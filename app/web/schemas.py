"""Models of the API responses, and of the OpenAPI document."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.alerts.event_records import iso_time
from app.alerts.export import HourRow
from app.alerts.health import AlertHealth
from app.alerts.marks import Marks, Verdict
from app.alerts.store_schema import SECONDS
from app.capture.capture import SourceState
from app.core.secrets import redact
from app.core.types import FACE_LABELS, Counts, Event, EventKind, Label
from app.pipeline.camera import CameraView
from app.web.mjpeg import STALE_STATES


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, source: object, **more: object) -> Self:
        """The record with ``more``, and with those attributes of ``source`` that have the names of its other fields."""
        names = cls.model_fields.keys() - more.keys()
        return cls.model_validate({name: getattr(source, name) for name in names} | more)


class Faces(Record):
    """Faces or people by label."""

    mask: int = 0
    no_mask: int = 0
    incorrect: int = 0
    unsure: int = 0


class EventRecord(Record):
    """An event. ``wall_s`` is Unix time, ``time_s`` stream time.

    ``track_id`` is 0 for camera events; for a crowd of ``people`` it is the track of one of them.
    """

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
    zone: str
    has_picture: bool
    has_clip: bool
    acknowledged_s: float | None = Field(description="Unix time of the acknowledgement")
    acknowledged_by: str = Field(description="who acknowledged it, as far as it is known")
    verdict: str = Field(description="right, no_face, wrong_label, unsure, or empty")
    verdict_label: str = Field(description="the right label if the verdict is wrong_label")
    verdict_by: str = Field(description="who gave the verdict, as far as it is known")


class LineRecord(Record):
    """Who passed a counting line."""

    name: str
    entered: int
    exited: int


class OccupancyRecord(Record):
    """Who passed the counting lines of a camera since the counts began at ``since_s`` (Unix time)."""

    since_s: float
    entered: int
    exited: int
    inside: int = Field(description="people inside; never below 0")
    limit: int | None
    is_full: bool = Field(description="the limit is reached")
    lines: list[LineRecord]


class CameraRecord(Record):
    """The current state of one camera. ``id`` is its position in the settings, from 1."""

    id: int
    name: str
    state: SourceState
    is_live: bool = Field(description="true for a camera or stream, false for a file")
    is_stale: bool = Field(description="the frame is old and does not show the present")
    group: str = Field(description="group of the camera in the settings, or empty")
    offline_since_s: float | None = Field(
        description="Unix time since when a live camera delivers no new images; null while it does"
    )
    note: str = Field(description="the last error of the source")
    fps: float
    analysis_fps: float
    age_s: float | None = Field(description="age of the newest frame; null before the first")
    frames: int
    dropped: int = Field(description="frames not analysed because a newer one arrived")
    reconnects: int
    now: Faces = Field(description="people in view now")
    seen: Faces = Field(
        description="people of today, each once, also those in view, by their worst label; for a file: in this run"
    )
    muted_until_s: float | None = Field(description="Unix time at which the mute ends")
    occupancy: OccupancyRecord | None = Field(description="null if the camera has no counting line")


class ChannelRecord(Record):
    """One alert channel. ``state`` is ok, sending or retrying."""

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
    """The current state of cameras, alerts and delivery."""

    version: str
    started_s: float
    now_s: float
    day_s: int = Field(description="Unix time at which the present day of the server began")
    cameras: list[CameraRecord]
    alerts: list[EventRecord] = Field(description="open alerts, oldest first")
    delivery: DeliveryRecord


class HourRecord(Record):
    """People seen in one hour, each counted once. ``compliance`` is the share with a correctly worn mask."""

    hour_s: int = Field(description="Unix time of the start of the hour")
    people: int
    masked: int
    incorrect: int
    bare: int
    alerts: int
    compliance: float | None
    watched: float | None = Field(description="the watched share of the time of all cameras; null if it is unknown")
    watched_s: float = Field(description="seconds in which images were analysed, summed over the cameras")
    offline_s: float = Field(description="seconds in which cameras delivered no image")
    paused_s: float = Field(description="seconds in which the analysis was paused")
    behind_s: float = Field(description="seconds in which images arrived, but were not analysed in time")
    not_running_s: float = Field(description="seconds for which maskwatch did not run")
    quiet_s: float = Field(description="the part of watched_s in which the schedule allowed no alert")
    watched_text: str = Field(description="the watched time as text")
    not_watched_text: str = Field(description="why the rest was not watched, as text")


class Compliance(Record):
    hours: list[HourRecord]
    total: HourRecord


class EventList(Record):
    events: list[EventRecord] = Field(description="newest first")


class CameraList(Record):
    cameras: list[CameraRecord]


class Mute(Record):
    """How long to mute a camera."""

    model_config = ConfigDict(strict=True)

    minutes: int = Field(ge=1, le=1440)

    @field_validator("minutes", mode="before")
    @classmethod
    def _integral(cls, value: object) -> object:
        """JSON has one kind of number: 190.0 is an integer there."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


class Muted(Record):
    muted_until_s: float | None


class Turned(Record):
    camera: str


class Acknowledged(Record):
    id: str
    acknowledged_s: float


class TestResult(Record):
    __test__ = False  # not a test for pytest

    channel: str
    ok: bool
    error: str


class TestResults(Record):
    __test__ = False

    results: list[TestResult]


class Judgement(Record):
    """A verdict on an event. ``label`` is the right label if the verdict is ``wrong_label``; it may be unknown."""

    verdict: Verdict
    label: Literal["", "mask", "no_mask", "incorrect"] = ""


class Judged(Record):
    id: str
    verdict: str
    label: str
    verdict_s: float


Pixel = Annotated[float, Field(ge=-20_000, le=20_000)]
Extent = Annotated[float, Field(ge=1, le=20_000)]


class FaceLabelling(Record):
    """What a collected face shows; '' takes it back. The corrected box is in pixels of the picture."""

    label: Literal["", "mask", "no_mask", "incorrect", "not_face"]
    box: tuple[Pixel, Pixel, Extent, Extent] | None = None

    @field_validator("box", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        """A form sends text."""
        return value.split() or None if isinstance(value, str) else value


class Labelled(Record):
    id: str
    label: str


class EventIds(Record):
    """The events of a bulk action."""

    ids: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(min_length=1, max_length=100)


class AllAcknowledged(Record):
    acknowledged: int = Field(description="the number of events that exist and are acknowledged now")


class SessionRecord(Record):
    """``csrf`` is the X-CSRF-Token header for every POST that sends the session cookie."""

    csrf: str


class Fault(Record):
    error: str


def _faces(counts: Mapping[Label, int] | None) -> Faces:
    return Faces(**{label.value: (counts or {}).get(label, 0) for label in FACE_LABELS})


def camera_record(number: int, view: CameraView, muted_until_s: float | None) -> CameraRecord:
    status = view.status
    counts: Counts | None = view.counts
    is_stale = status.state in STALE_STATES
    return CameraRecord.of(
        view,
        id=number,
        name=view.camera,
        state=status.state,
        is_stale=is_stale,
        offline_since_s=view.down_since_s,
        note=redact(status.last_error),
        fps=round(status.fps, 2),
        analysis_fps=0.0 if is_stale else round(view.analysis_fps, 2),
        age_s=None if view.frame is None else round(view.age_s, 2),
        frames=status.frames,
        reconnects=status.reconnects,
        now=Faces() if is_stale else _faces(counts.now if counts else None),
        seen=_faces(counts.seen if counts else None),
        muted_until_s=muted_until_s,
        occupancy=_occupancy(view),
    )


def _occupancy(view: CameraView) -> OccupancyRecord | None:
    state = view.occupancy
    if state is None or view.settings is None:
        return None
    counts = {line.name: state.lines.get(line.name, (0, 0)) for line in view.settings.line}
    return OccupancyRecord.of(
        state,
        limit=view.settings.occupancy.limit,
        is_full=state.alert is not None,
        lines=[LineRecord(name=name, entered=into, exited=out) for name, (into, out) in counts.items()],
    )


def event_record(event: Event, has_picture: bool, has_clip: bool, marks: Marks) -> EventRecord:
    return EventRecord.of(
        event,
        at=iso_time(event.wall_s),
        reason=redact(event.reason),
        has_picture=has_picture,
        has_clip=has_clip,
        acknowledged_s=marks.acknowledged_s,
        acknowledged_by=marks.acknowledged_by,
        verdict=marks.verdict,
        verdict_label=marks.label,
        verdict_by=marks.verdict_by,
    )


def delivery_record(health: AlertHealth) -> DeliveryRecord:
    channels = [ChannelRecord.of(each, error=redact(each.error)) for each in health.channels]
    return DeliveryRecord(ok=health.ok, store_fault=health.store_fault or health.crash, channels=channels)


def hour_record(row: HourRow) -> HourRecord:
    of_people = ("people", "masked", "incorrect", "bare", "compliance")
    return HourRecord.of(row, **{name: getattr(row.seen, name) for name in (*of_people, *SECONDS)})


class SettingsRecord(Record):
    """The settings of the run, without secrets. ``file`` is null if there is no settings file to change."""

    revision: str = Field(description="of the settings file; a change names the one that it was made for")
    file: str | None
    settings: dict[str, Any]
    editable: list[str] = Field(description="the paths that can be changed; '*' is the name of a camera or channel")


class SettingChange(Record):
    path: str = Field(min_length=1, max_length=300, description="such as policy.dwell_s or camera.door.rotate")
    value: Any = Field(description="null removes the setting; a table for camera.NAME adds a camera")


class SettingsChanges(Record):
    revision: str = Field(max_length=64)
    changes: list[SettingChange] = Field(min_length=1, max_length=100)


class SavedSettings(Record):
    revision: str
    applied: list[str]
    needs_restart: list[str] = Field(description="settings of the file that are used after a restart only")


class TryAddress(Record):
    uri: str = Field(min_length=1, max_length=500, description="rtsp://, rtsps://, http://, https://, or a number")
    username: str = Field("", max_length=200)
    password: str = Field("", max_length=200)


class TriedAddress(Record):
    key: str = Field(description="of the picture: /setup/tried/KEY/picture.jpg")
    ok: bool
    reason: str = Field(description="why there is no picture")
    width_px: int
    height_px: int

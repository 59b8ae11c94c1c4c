"""Settings of the alert policy, the watchdog and single cameras."""

from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, field_validator

from app.settings.polygons import Line, Polygon
from app.settings.source import Schedule, SourceSettings, TimeOfDay, TimeZone
from app.settings.source_uri import check_characters
from app.settings.table import SettingsTable
from app.settings.vision import DetectorSettings, TrackingSettings

M = TypeVar("M", bound=BaseModel)


class PolicySettings(SettingsTable):
    """``[policy]``: when a face alerts. All times are stream time."""

    alert_on: tuple[Literal["no_mask", "incorrect"], ...] = Field(
        ("no_mask",), description="labels that raise an alert"
    )
    dwell_s: float = Field(2.0, ge=0, le=3600, description="how long a face must be bare before it alerts")
    grace_s: float = Field(
        0.7, ge=0, le=60, description="an unsure label for at most this time does not restart the dwell time"
    )
    min_observations: int = Field(5, ge=1, le=1000, description="detections of the face before it may alert")
    min_face_px: int = Field(32, ge=1, description="smaller faces never alert")
    min_confidence: float = Field(
        0.99,
        ge=0.5,
        le=1,
        description="evidence that the face is bare: 0.99 means odds of 99 to 1, collected over inferences that are at "
        "least 0.5 s apart",
    )
    min_label_confidence: float = Field(
        0.0,
        ge=0,
        le=1,
        description="a face whose label has a lower confidence does not alert; 'maskwatch improve' chooses it from "
        "verdicts",
    )
    cooldown_s: float = Field(5.0, ge=0, le=86400, description="minimum time between two alerts of one camera")
    resolve_after_s: float = Field(
        1.0, ge=0, le=3600, description="how long a mask must be seen before the alert is resolved"
    )
    resolved_events: bool = Field(True, description="send an event when an alert is resolved")
    schedule: Schedule = Field(
        (), description="local hours in which faces alert, such as 'mon-fri 08:00-18:00'; empty: always"
    )
    quiet_hours: Schedule = Field((), description="local hours in which no face alerts, such as '22:00-06:00'")
    timezone: TimeZone = Field(
        "", description="time zone of schedule and quiet_hours, such as 'Europe/Berlin'; if empty, that of the camera"
    )
    regions: tuple[Polygon, ...] = Field(
        (),
        description="polygons in the picture as shown that must contain the centre of a face: [x, y] corners from 0 "
        "to 1; empty: everywhere; draw them in the window with the key e",
    )
    digest_over: int = Field(
        0, ge=0, le=1000, description="if more faces than this alert at once, they are combined in one alert; 0: off"
    )


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), AfterValidator(check_characters)
]


class ZoneSettings(SettingsTable):
    """``[[camera.zone]]``: a part of the picture in which faces alert, with rules of its own."""

    name: Name = Field(description="name of the zone on screen and in events")
    polygon: Polygon = Field(
        description="[x, y] corners from 0 to 1 in the picture as shown; the centre of a face counts"
    )
    alert_on: tuple[Literal["no_mask", "incorrect"], ...] | None = Field(
        None, description="labels that raise an alert in the zone; default: those of the camera; []: none"
    )
    dwell_s: float | None = Field(
        None, ge=0, le=3600, description="how long a face must be bare in the zone; default: that of the camera"
    )
    schedule: Schedule | None = Field(
        None, description="local hours in which the zone alerts; default: those of the camera"
    )
    channels: tuple[str, ...] = Field((), description="channels that send the zone's alerts; empty: all")


class LineSettings(SettingsTable):
    """``[[camera.line]]``: a line over which people are counted."""

    name: Name = Field(description="name of the line on screen")
    points: Line = Field(
        description="two [x, y] points from 0 to 1 in the picture as shown. Seen from the first to the second, who "
        "passes from the left to the right comes in; swap the points for the other direction"
    )


class OccupancySettings(SettingsTable):
    """``[camera.occupancy]``: the people inside, who came in over the camera's lines and did not go out."""

    limit: int | None = Field(None, ge=1, le=100_000, description="people inside from which on an event is sent")
    reset_at: TimeOfDay = Field("00:00", description="time of day at which the counts begin again, such as '04:00'")


class CameraPolicy(PolicySettings):
    """The rules of one camera. Each zone, by its name, is a policy whose only region is the zone."""

    zones: tuple[tuple[str, PolicySettings], ...] = ()
    lines: tuple[LineSettings, ...] = ()


class MonitorSettings(SettingsTable):
    """``[monitor]``: how failed cameras and stuck threads are handled."""

    retry_at_start: bool = Field(
        False, description="keep trying if no source can be opened at the start, instead of exiting"
    )
    offline_after_s: float = Field(
        10.0, ge=0, le=86400, description="a camera without live frames for this time is reported as offline"
    )
    recovered_after_s: float = Field(
        2.0, ge=0, le=3600, description="an offline camera that is live again for this time is reported as recovered"
    )
    stuck_after_s: float = Field(
        20.0, ge=1, le=3600, description="a thread that makes no progress for this time is abandoned and replaced"
    )
    max_restarts: int = Field(
        3,
        ge=0,
        le=100,
        description="maximum restarts of one camera per hour; after one more fault the camera is given up",
    )


class CameraSettings(SourceSettings):
    """``[[camera]]``: one source. Its tables ``detector``, ``policy`` and ``tracking`` override single settings of
    ``[detector]``, ``[policy]`` and ``[tracking]``; its tables ``zone``, ``line`` and ``occupancy`` are its own."""

    group: str = Field(
        "", max_length=80, description="name of a group of cameras, such as Hall, that the web view can show alone"
    )
    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="overrides of [detector]")
    policy: PolicySettings = Field(default_factory=PolicySettings, description="overrides of [policy]")
    tracking: TrackingSettings = Field(default_factory=TrackingSettings, description="overrides of [tracking]")
    zone: tuple[ZoneSettings, ...] = Field(
        (),
        description="zones that alert, with rules of their own: name, polygon, alert_on, dwell_s, schedule, channels",
    )
    line: tuple[LineSettings, ...] = Field(
        (), description="lines over which people are counted in and out: name, points"
    )
    occupancy: OccupancySettings = Field(
        default_factory=OccupancySettings, description="the people inside: limit, reset_at"
    )

    @field_validator("zone", "line")
    @classmethod
    def _have_names(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = [name for name, count in Counter(each.name for each in given).items() if count > 1]
        if twice:
            raise ValueError(f"two are called {twice[0]!r}; names must differ")
        return given

    def policy_over(self, general: PolicySettings) -> CameraPolicy:
        """The policy of this camera: ``general`` with its own settings and time zone, its zones and its lines."""
        policy = overridden(general, self.policy)
        if not policy.timezone:
            policy = policy.model_copy(update={"timezone": self.timezone})
        zones = []
        for zone in self.zone:
            rules = zone.model_dump(include={"alert_on", "dwell_s", "schedule"}, exclude_none=True)
            zones.append((zone.name, policy.model_copy(update={**rules, "regions": (zone.polygon,)})))
        return CameraPolicy.model_construct(**dict(policy), zones=tuple(zones), lines=self.line)


def overridden(general: M, own: M) -> M:
    """``general`` with the settings that were given in ``own``."""
    return general.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

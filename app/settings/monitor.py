"""Settings of the alert policy, the watchdog and single cameras."""

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.core.schedule import parse_hours
from app.settings.source import Polygon as Polygon
from app.settings.source import SourceSettings, TimeZone
from app.settings.vision import DetectorSettings, TrackingSettings

M = TypeVar("M", bound=BaseModel)


class PolicySettings(BaseModel):
    """``[policy]``: when a face alerts. All times are stream time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    schedule: tuple[str, ...] = Field(
        (), description="local hours in which faces alert, such as 'mon-fri 08:00-18:00'; empty: always"
    )
    quiet_hours: tuple[str, ...] = Field((), description="local hours in which no face alerts, such as '22:00-06:00'")
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

    @field_validator("schedule", "quiet_hours")
    @classmethod
    def _readable(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            parse_hours(line)
        return lines


class MonitorSettings(BaseModel):
    """``[monitor]``: how failed cameras and stuck threads are handled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    ``[detector]``, ``[policy]`` and ``[tracking]``."""

    group: str = Field(
        "", max_length=80, description="name of a group of cameras, such as Hall, that the web view can show alone"
    )
    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="overrides of [detector]")
    policy: PolicySettings = Field(default_factory=PolicySettings, description="overrides of [policy]")
    tracking: TrackingSettings = Field(default_factory=TrackingSettings, description="overrides of [tracking]")

    def policy_over(self, general: PolicySettings) -> PolicySettings:
        """The policy of this camera: ``general`` with its own settings and time zone."""
        policy = overridden(general, self.policy)
        return policy if policy.timezone else policy.model_copy(update={"timezone": self.timezone})


def overridden(general: M, own: M) -> M:
    """``general`` with the settings that were given in ``own``."""
    return general.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

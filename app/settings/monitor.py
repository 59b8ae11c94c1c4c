"""Settings of the watching itself: the alert policy, the watchdog, and what one camera may have of its own."""

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.core.schedule import parse_hours
from app.settings.source import SourceSettings
from app.settings.vision import DetectorSettings, TrackingSettings

M = TypeVar("M", bound=BaseModel)
Polygon = tuple[tuple[float, float], ...]


class PolicySettings(BaseModel):
    """``[policy]``: when a face is worth an alert. Times are stream times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alert_on: tuple[Literal["no_mask", "incorrect"], ...] = Field(("no_mask",), description="labels that alert")
    dwell_s: float = Field(2.0, ge=0, le=3600, description="how long a face must be bare")
    grace_s: float = Field(0.7, ge=0, le=60, description="an unsure spell up to this long does not restart the dwell")
    min_observations: int = Field(5, ge=1, le=1000, description="detections of the face before it may alert")
    min_face_px: int = Field(32, ge=1, description="smaller faces never alert")
    min_confidence: float = Field(0.85, ge=0, le=1, description="smoothed confidence needed")
    cooldown_s: float = Field(5.0, ge=0, le=86400, description="least time between two alerts of one camera")
    resolve_after_s: float = Field(1.0, ge=0, le=3600, description="how long a mask must be seen to resolve an alert")
    resolved_events: bool = Field(True, description="tell when an alert ends")
    schedule: tuple[str, ...] = Field(
        (), description="local hours in which faces alert, such as 'mon-fri 08:00-18:00'; none means always"
    )
    quiet_hours: tuple[str, ...] = Field((), description="local hours in which no face alerts, such as '22:00-06:00'")
    regions: tuple[Polygon, ...] = Field(
        (),
        description="polygons in which a face's middle must lie to alert, as [x, y] from 0 to 1 of width and height; "
        "none means everywhere; draw them in the window with the key e",
    )
    digest_over: int = Field(
        0, ge=0, le=1000, description="more ready faces than this at once are told of in one alert; 0 is off"
    )

    @field_validator("schedule", "quiet_hours")
    @classmethod
    def _readable(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            parse_hours(line)
        return lines

    @field_validator("regions")
    @classmethod
    def _are_polygons(cls, regions: tuple[Polygon, ...]) -> tuple[Polygon, ...]:
        for polygon in regions:
            if len(polygon) < 3:
                raise ValueError("a region needs at least three corners")
            if any(not 0 <= value <= 1 for corner in polygon for value in corner):
                raise ValueError("corners are fractions of width and height, from 0 to 1")
        return regions


class MonitorSettings(BaseModel):
    """``[monitor]``: cameras that fail and threads that hang."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retry_at_start: bool = Field(
        False, description="keep trying where no source can be opened at the start, instead of ending"
    )
    offline_after_s: float = Field(
        10.0, ge=0, le=86400, description="a camera without live pictures for so long is told as offline"
    )
    recovered_after_s: float = Field(
        2.0, ge=0, le=3600, description="an offline camera that is live again for so long is told as recovered"
    )
    stuck_after_s: float = Field(
        20.0, ge=1, le=3600, description="a thread that does not move for so long is given up and replaced"
    )
    max_restarts: int = Field(
        3, ge=0, le=100, description="of one camera within an hour; one more and the camera is given up"
    )


class CameraSettings(SourceSettings):
    """``[[camera]]``: one source, with what is different for it from ``[detector]``, ``[policy]`` and
    ``[tracking]``; what its own tables leave out is taken from those."""

    detector: DetectorSettings = Field(default_factory=DetectorSettings, description="what differs from [detector]")
    policy: PolicySettings = Field(default_factory=PolicySettings, description="what differs from [policy]")
    tracking: TrackingSettings = Field(default_factory=TrackingSettings, description="what differs from [tracking]")


def overridden(general: M, own: M) -> M:
    """``general`` with each setting that was given in ``own``."""
    return general.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})

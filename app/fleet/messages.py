"""What a node reports to the hub besides events: its health, and the totals of its cameras by hour."""

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.store_types import CameraHour

STREAM = "FLEET"
DEFAULT_PORT = 7422


class NodeHealth(BaseModel):
    """Published to ``mw.health.SITE.NODE`` every ``heartbeat_s`` and not stored by the server. ``cameras``: the state
    of each camera. ``waiting``: events that are not sent yet. ``faults``: what does not work, as text."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(max_length=40)
    heartbeat_s: float = Field(gt=0, le=3600)
    waiting: int = Field(ge=0)
    cameras: dict[str, str] = {}
    faults: tuple[str, ...] = ()

    @property
    def offline_after_s(self) -> float:
        """The silence after which the node is offline."""
        return 3 * self.heartbeat_s


class HourTotals(BaseModel):
    """Published to ``mw.count.SITE.CAMERA``: all that ``node`` counted with this camera in these hours, not what was
    added, so that a message that arrives twice or late changes nothing."""

    model_config = ConfigDict(frozen=True)

    node: str = Field(max_length=100)
    hours: tuple[CameraHour, ...]

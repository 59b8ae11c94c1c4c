"""What a node reports to the hub besides events (its health, and totals by hour), and what the hub wants of it."""

from pydantic import BaseModel, ConfigDict, Field

from app.alerts.store_types import CameraHour

STREAM = "FLEET"
DESIRED, LEASES, MODELS = "mw_desired", "mw_lease", "mw_models"
"""Two buckets of keys and values (SITE -> ``Desired``; SITE.CAMERA -> node) and one of objects."""
MAX_SETTINGS_BYTES, MAX_MODEL_BYTES = 100_000, 100_000_000
DEFAULT_PORT = 7422


class Revision(BaseModel):
    """A revision of the settings (``content``: TOML) or of the classifier (``content``: SHA-256 of the object ``nuid``)
    that a site is to use; '' for the node's own. ``nodes``: only these; empty: all."""

    model_config = ConfigDict(frozen=True)

    number: int = 0
    content: str = Field(default="", max_length=MAX_SETTINGS_BYTES)
    nuid: str = ""
    size: int = Field(default=0, ge=0, le=MAX_MODEL_BYTES)
    nodes: tuple[str, ...] = ()

    def is_for(self, node: str) -> bool:
        return self.number > 0 and (not self.nodes or node in self.nodes)


class Desired(BaseModel):
    """What a site is to use. ``assigned``: cameras with the node that is to watch them. ``drained``: nodes that are to
    watch no leased camera."""

    model_config = ConfigDict(frozen=True)

    settings: Revision = Revision()
    model: Revision = Revision()
    assigned: dict[str, str] = {}
    drained: tuple[str, ...] = ()


class Applied(BaseModel):
    """The revision that a node uses (0: its own), and the latest that it ``refused``, with the reason."""

    number: int = 0
    refused: int = 0
    reason: str = ""

    def text(self, part: str) -> str:
        used = f"{part} {self.number}" if self.number else ""
        refused = f"{part} {self.refused} refused: {self.reason}" if self.refused else ""
        return "; ".join(filter(None, (used, refused)))


class NodeHealth(BaseModel):
    """Published to ``mw.health.SITE.NODE`` every ``heartbeat_s`` and not stored by the server. ``cameras``: the state
    of each camera. ``waiting``: events that are not sent yet. ``faults``: what does not work, as text. ``applied``: by
    ``settings`` and ``model``. ``failover``: the node shares its live cameras."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(max_length=40)
    heartbeat_s: float = Field(gt=0, le=3600)
    waiting: int = Field(ge=0)
    cameras: dict[str, str] = {}
    faults: tuple[str, ...] = ()
    applied: dict[str, Applied] = {}
    failover: bool = False

    @property
    def from_hub(self) -> list[str]:
        """What the node uses of the hub, or refused, as text."""
        return list(filter(None, (applied.text(part) for part, applied in self.applied.items())))

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

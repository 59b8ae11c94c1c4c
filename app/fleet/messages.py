"""What a node reports to the hub besides events (its health, and totals by hour), and what the hub wants of it."""

from pydantic import BaseModel, ConfigDict, Field

from app.core.camera_hours import CameraHour

STREAM = "FLEET"
DESIRED, LEASES, MODELS = "mw_desired", "mw_lease", "mw_models"
"""Two buckets of keys and values (SITE -> ``Desired``; SITE.CAMERA -> node) and one of objects."""
TABLES = {"model": "classifier", "detector": "detector"}
"""The parts of ``Desired`` that are models, with the table of the settings whose ``model`` each replaces."""
PARTS = ("settings", *TABLES)
MAX_SETTINGS_BYTES, MAX_MODEL_BYTES = 100_000, 100_000_000
DEFAULT_PORT = 7422


class Revision(BaseModel):
    """A revision of the settings (``content``: TOML) or of a model (``content``: SHA-256 of the object ``nuid``) that a
    site is to use; '' for the node's own. ``fingerprint``: of the model. ``nodes``: only these; empty: all."""

    model_config = ConfigDict(frozen=True)

    number: int = 0
    content: str = Field(default="", max_length=MAX_SETTINGS_BYTES)
    nuid: str = ""
    size: int = Field(default=0, ge=0, le=MAX_MODEL_BYTES)
    fingerprint: str = Field(default="", max_length=40)
    nodes: tuple[str, ...] = ()

    def is_for(self, node: str) -> bool:
        return self.number > 0 and (not self.nodes or node in self.nodes)


class Desired(BaseModel):
    """What a site is to use. ``model``: the classifier. ``assigned``: cameras with the node that is to watch them.
    ``drained``: nodes that are to watch no leased camera."""

    model_config = ConfigDict(frozen=True)

    settings: Revision = Revision()
    model: Revision = Revision()
    detector: Revision = Revision()
    assigned: dict[str, str] = {}
    drained: tuple[str, ...] = ()


class Applied(BaseModel):
    """The revision that a node uses (0: its own), with the fingerprint of a model, and the latest that it ``refused``,
    with the reason."""

    number: int = 0
    fingerprint: str = ""
    refused: int = 0
    reason: str = ""

    def text(self, part: str) -> str:
        name = TABLES.get(part, part)
        fingerprint = f" ({self.fingerprint})" if self.fingerprint else ""
        used = f"{name} {self.number}{fingerprint}" if self.number else ""
        refused = f"{name} {self.refused} refused: {self.reason}" if self.refused else ""
        return "; ".join(filter(None, (used, refused)))


class NodeHealth(BaseModel):
    """Published to ``mw.health.SITE.NODE`` every ``heartbeat_s`` and not stored by the server. ``cameras``: the state
    of each camera. ``waiting``: events that are not sent yet. ``faults``: what does not work, as text. ``applied``: by
    ``PARTS``. ``failover``: the node shares its live cameras."""

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

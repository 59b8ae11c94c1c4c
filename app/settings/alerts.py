"""What may be set about alerts: where events are kept, for how long, and the channels that tell people."""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.core.schedule import Hours, parse_hours
from app.core.types import EventKind

PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = frozenset(
    (
        "id",
        "kind",
        "camera",
        "track",
        "confidence",
        "duration_s",
        "time_s",
        "at",
        "reason",
        "people",
        "key",
        "attempt",
        "snapshot",
    )
)


def matches_camera(pattern: str, camera: str) -> bool:
    """Whether ``pattern`` is the name ``camera``, whatever signs that has, or covers it."""
    return camera == pattern or fnmatchcase(camera, pattern)


def default_store() -> Path:
    return platformdirs.user_data_path("maskwatch", appauthor=False) / "events.db"


class RateLimit(BaseModel):
    """At most ``count`` alerts in any ``per_s`` seconds; more of them ``wait`` in the outbox or are ``skip``ped."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    count: int = Field(ge=1)
    per_s: float = Field(default=60.0, gt=0)
    excess: Literal["wait", "skip"] = "wait"


class ChannelBase(BaseModel):
    """What every channel has. The name is part of the idempotency key: renaming a channel makes it a new one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,60}$", description="letters, digits, '_', '.' and '-'")
    events: tuple[EventKind, ...] = Field(default=tuple(EventKind), description="what it tells")
    cameras: tuple[str, ...] = Field(default=(), description="names or patterns such as 'door-*'; none means all")
    schedule: tuple[str, ...] = Field(default=(), description="such as 'mon-fri 08:00-18:00'; none means always")
    rate_limit: RateLimit | None = None
    give_up_after_s: float = Field(default=86_400.0, gt=0, description="an alert that old is not tried again")
    timeout_s: float = Field(default=10.0, gt=0, le=600, description="longest time for one try")
    snapshot: bool = Field(default=False, description="send the picture, where alerts.snapshots allows any")
    useless_when_late: ClassVar[bool] = False
    """Whether an alert is given up at its age even if it was never tried."""

    @field_validator("schedule")
    @classmethod
    def _readable(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            parse_hours(line)
        return lines

    @property
    def hours(self) -> tuple[Hours, ...]:
        return tuple(parse_hours(line) for line in self.schedule)

    @property
    def reads_files(self) -> bool:
        """Whether a secret, an address or certificates come from a file, whose content may change."""
        return any(name.endswith("_file") and value is not None for name, value in self)


def _exactly_one(channel: BaseModel, field: str) -> None:
    given = [name for name in (field, f"{field}_env", f"{field}_file") if getattr(channel, name) is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {field}, {field}_env and {field}_file")


class CommandChannel(ChannelBase):
    """A program started without a shell; ``{camera}`` and the like in its arguments are filled in."""

    kind: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1, description="the program and its arguments")

    @field_validator("argv")
    @classmethod
    def _known(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        unknown = {name for part in argv for name in PLACEHOLDER.findall(part)} - PLACEHOLDERS
        if unknown:
            raise ValueError(f"unknown {{{min(unknown)}}}; use {', '.join(sorted(PLACEHOLDERS))}")
        if not argv[0]:
            raise ValueError("the program's name is empty")
        return argv


class WebhookChannel(ChannelBase):
    """A JSON POST, signed with HMAC SHA-256 where a secret is given."""

    kind: Literal["webhook"]
    url: str | None = Field(default=None, description="where to; better by url_env or url_file if it holds a key")
    url_env: str | None = None
    url_file: Path | None = None
    headers: dict[str, str] = Field(default_factory=dict, description="sent with each request")
    headers_env: dict[str, str] = Field(default_factory=dict, description="header: environment variable")
    secret_env: str | None = None
    secret_file: Path | None = None
    ca_file: Path | None = Field(default=None, description="certificates (PEM) to trust")

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        _exactly_one(self, "url")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("url must start with http:// or https://")
        return self


class MqttChannel(ChannelBase):
    """MQTT with quality of service 1; Home Assistant finds the entities by itself unless ``discovery`` is off."""

    kind: Literal["mqtt"]
    host: str = Field(min_length=1, description="the broker's address")
    port: int = Field(default=1883, ge=1, le=65_535, description="the broker's port; with tls mostly 8883")
    topic: str = Field(default="maskwatch", pattern=r"^[^#+\x00]+$", description="what its topics begin with")
    username: str | None = Field(default=None, description="at the broker")
    password_env: str | None = None
    password_file: Path | None = None
    tls: bool = Field(default=False, description="encrypt the connection")
    ca_file: Path | None = Field(default=None, description="certificates (PEM) to trust")
    discovery: bool = Field(default=True, description="tell Home Assistant of the entities")
    discovery_prefix: str = Field(
        default="homeassistant", pattern=r"^[^#+\x00]+$", description="where Home Assistant looks for them"
    )


class AppriseChannel(ChannelBase):
    """Mail, chat and push: everything an Apprise URL can name."""

    kind: Literal["apprise"]
    url: str | None = Field(default=None, description="an Apprise URL; better by url_env or url_file: it holds a key")
    url_env: str | None = None
    url_file: Path | None = None

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        _exactly_one(self, "url")
        return self


class SoundChannel(ChannelBase):
    """A sound on this machine. One that is a minute late helps nobody, so it is given up soon, played or not."""

    useless_when_late: ClassVar[bool] = True
    kind: Literal["sound"]
    file: Path | None = Field(default=None, description="a WAV file; none means a built-in chime")
    events: tuple[EventKind, ...] = Field(
        default=(EventKind.NO_MASK, EventKind.INCORRECT, EventKind.CAMERA_OFFLINE), description="what it tells"
    )
    give_up_after_s: float = Field(default=15.0, gt=0, description="an alert that old is not played any more")


class PluginChannel(ChannelBase):
    """A Python hook of an installed package, found by its entry point in the group ``maskwatch.alert_hooks``."""

    kind: Literal["plugin"]
    plugin: str = Field(min_length=1, description="the name of its entry point")
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, description="the hook's own")


Channel = Annotated[
    CommandChannel | WebhookChannel | MqttChannel | AppriseChannel | SoundChannel | PluginChannel,
    Field(discriminator="kind"),
]


class AlertSettings(BaseModel):
    """The ``[alerts]`` table."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    store: Path = Field(default_factory=default_store, description="SQLite file of events and outbox")
    persist: bool = Field(default=True, description="false keeps nothing on disk: alerts die with the program")
    keep_days: float = Field(default=30.0, gt=0, description="older events are deleted")
    max_store_mb: float = Field(default=200.0, ge=0.25, description="above it, the oldest events are deleted")
    max_outbox: int = Field(
        default=10_000, ge=1, description="waiting alerts per channel; when full, the oldest becomes undelivered"
    )
    retry_first_s: float = Field(default=1.0, gt=0, description="first pause after a failure; it doubles")
    retry_max_s: float = Field(default=300.0, gt=0, description="longest pause after a failure")
    snapshots: Literal["off", "blur_others", "blur_all"] = Field(
        default="off", description="pictures kept with events: none, only the face concerned, or no face, in clear"
    )
    channels: tuple[Channel, ...] = ()

    @field_validator("store")
    @classmethod
    def _names_a_file(cls, store: Path) -> Path:
        if store.name in ("", ".."):
            raise ValueError(f"'{store.as_posix()}' names no file; give one, such as events.db")
        return store

    @field_validator("channels")
    @classmethod
    def _unique(cls, channels: tuple[ChannelBase, ...]) -> tuple[ChannelBase, ...]:
        names = [channel.name for channel in channels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two channels are called {twice[0]!r}; names must differ")
        return channels

    @model_validator(mode="after")
    def _pictures_allowed(self) -> Self:
        asking = [channel.name for channel in self.channels if channel.snapshot]
        if asking and self.snapshots == "off":
            raise ValueError(f"channel {asking[0]!r} asks for a snapshot; set snapshots to blur_others or blur_all")
        return self

"""Settings of the event store and the alert channels."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, field_validator, model_validator

from app.core.schedule import Hours, parse_hours
from app.core.types import EventKind
from app.core.user_folders import data_folder
from app.settings.source import Language, Schedule, TimeOfDay, TimeZone
from app.settings.table import GivenPath, SettingsTable, Url

PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = frozenset(
    "id kind camera track confidence duration_s time_s at reason people key attempt snapshot zone".split()  # noqa: SIM905
)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,60}$")]
"""A part of a NATS subject."""


def matches_camera(pattern: str, camera: str) -> bool:
    """Whether ``pattern`` equals the name ``camera`` (which may contain ``*`` or ``[``) or matches it."""
    return camera == pattern or fnmatchcase(camera, pattern)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises ValueError, without the value, if a name or a value cannot be sent in a header of HTTP."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header; use letters, digits and '-'")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of the header {name} has a line break or a character that is not ASCII")


def _check_host(host: str) -> str:
    if "/" in host or host.count(":") == 1 or any(each.isspace() for each in host):
        raise ValueError("is no host; write the name or the address alone, such as broker.lan, and the port as port")
    return host


def default_store() -> Path:
    return data_folder() / "events.db"


class RateLimit(SettingsTable):
    """At most ``count`` alerts in ``per_s`` seconds; further alerts ``wait`` in the outbox or are ``skip``ped."""

    count: int = Field(ge=1)
    per_s: float = Field(default=60.0, gt=0)
    excess: Literal["wait", "skip"] = "wait"


class ChannelBase(SettingsTable):
    """The settings of every channel. The name is part of the idempotency key, so a renamed channel is a new channel."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]{1,60}$", description="name of the channel: letters, digits, '_', '.' and '-'"
    )
    events: tuple[EventKind, ...] = Field(
        default=tuple(kind for kind in EventKind if kind is not EventKind.REPORT), description="events that are sent"
    )
    cameras: tuple[str, ...] = Field(default=(), description="camera names or patterns such as 'door-*'; empty: all")
    schedule: Schedule = Field(
        default=(), description="local hours in which the channel sends, such as 'mon-fri 08:00-18:00'; empty: always"
    )
    rate_limit: RateLimit | None = None
    give_up_after_s: float = Field(default=86_400.0, gt=0, description="age after which an alert is not retried")
    timeout_s: float = Field(default=10.0, gt=0, le=600, description="maximum time of one attempt")
    snapshot: bool = Field(default=False, description="send the snapshot, if alerts.snapshots allows it")
    useless_when_late: ClassVar[bool] = False
    """Whether an alert is given up after ``give_up_after_s`` even if it was never tried."""
    only_in_file: ClassVar[bool] = False
    """Whether the web view must not change the channel: it runs a program, or its address belongs to a key."""

    @property
    def hours(self) -> tuple[Hours, ...]:
        return tuple(parse_hours(line) for line in self.schedule)

    @property
    def reads_files(self) -> bool:
        """Whether a secret, an address or certificates come from a file, whose content can change."""
        return any(name.endswith("_file") and value is not None for name, value in self)


def _exactly_one(channel: BaseModel, field: str) -> None:
    given = [name for name in (field, f"{field}_env", f"{field}_file") if getattr(channel, name) is not None]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {field}, {field}_env and {field}_file")


class CommandChannel(ChannelBase):
    """A program that is started without a shell; placeholders such as ``{camera}`` in its arguments are replaced."""

    only_in_file: ClassVar[bool] = True
    kind: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1, description="the program and its arguments")

    @field_validator("argv")
    @classmethod
    def _known(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        unknown = {name for part in argv for name in PLACEHOLDER.findall(part)} - PLACEHOLDERS
        if unknown:
            raise ValueError(f"unknown placeholder {{{min(unknown)}}}; use {', '.join(sorted(PLACEHOLDERS))}")
        if not argv[0]:
            raise ValueError("the program's name is empty; write the program first")
        return argv


class WebhookChannel(ChannelBase):
    """A JSON POST request, signed with HMAC SHA-256 if a secret is given."""

    kind: Literal["webhook"]
    url: Url | None = Field(
        default=None, description="address of the request; use url_env or url_file if it contains a key"
    )
    url_env: str | None = None
    url_file: GivenPath | None = None
    headers: dict[str, str] = Field(default_factory=dict, description="headers of each request")
    headers_env: dict[str, str] = Field(
        default_factory=dict, description="headers whose values come from environment variables: header = variable"
    )
    secret_env: str | None = None
    secret_file: GivenPath | None = None
    ca_file: GivenPath | None = Field(default=None, description="certificates (PEM) to trust")

    @field_validator("headers", "headers_env")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        check_headers(headers)
        return headers

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        _exactly_one(self, "url")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError("url must start with http:// or https://")
        return self


class MqttChannel(ChannelBase):
    """MQTT with quality of service 1; Home Assistant discovers the entities unless ``discovery`` is off."""

    kind: Literal["mqtt"]
    host: Annotated[str, AfterValidator(_check_host)] = Field(min_length=1, description="address of the broker")
    port: int = Field(default=1883, ge=1, le=65_535, description="port of the broker; usually 8883 with tls")
    topic: str = Field(default="maskwatch", pattern=r"^[^#+\x00]+$", description="prefix of all topics")
    username: str | None = Field(default=None, description="user name for the broker")
    password_env: str | None = None
    password_file: GivenPath | None = None
    tls: bool = Field(default=False, description="encrypt the connection with TLS")
    ca_file: GivenPath | None = Field(default=None, description="certificates (PEM) to trust")
    discovery: bool = Field(default=True, description="announce the entities to Home Assistant")
    discovery_prefix: str = Field(
        default="homeassistant", pattern=r"^[^#+\x00]+$", description="topic prefix of Home Assistant's discovery"
    )


class AppriseChannel(ChannelBase):
    """Mail, chat and push messages: all services that Apprise supports."""

    kind: Literal["apprise"]
    url: str | None = Field(
        default=None, description="an Apprise URL; use url_env or url_file, because it contains a key"
    )
    url_env: str | None = None
    url_file: GivenPath | None = None

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        _exactly_one(self, "url")
        return self


class SoundChannel(ChannelBase):
    """A sound on this machine. A late sound is useless, so the alert is given up after a short time."""

    useless_when_late: ClassVar[bool] = True
    kind: Literal["sound"]
    file: GivenPath | None = Field(default=None, description="a WAV file; the built-in chime if not given")
    events: tuple[EventKind, ...] = Field(
        default=(
            EventKind.NO_MASK,
            EventKind.INCORRECT,
            EventKind.CAMERA_OFFLINE,
            EventKind.NODE_OFFLINE,
            EventKind.PART_FAILED,
            EventKind.OCCUPANCY_REACHED,
        ),
        description="events that are played",
    )
    give_up_after_s: float = Field(default=15.0, gt=0, description="age after which an alert is not played")


class NatsChannel(ChannelBase):
    """A stream of a NATS server (JetStream), such as the hub of a fleet. Sent means that the server has stored it."""

    only_in_file: ClassVar[bool] = True
    kind: Literal["nats"]
    url: Url = Field(pattern=r"^(tls|nats)://[^@/]+$", description="address of the server, such as tls://hub:7422")
    site: SiteName = Field(description="name of this site; part of the subject mw.event.SITE.CAMERA")
    creds_file: GivenPath | None = Field(default=None, description="credentials file of the site")
    node: SiteName | None = Field(
        default=None, description="name of this machine; the hub merges equal alerts of nodes that share a camera"
    )
    give_up_after_s: float = Field(
        default=30 * 86_400.0,
        gt=0,
        description="age after which an alert is not retried: the link may be down for days",
    )


class PushChannel(ChannelBase):
    """Web push to the browsers and phones that turned alerts on in the web view."""

    kind: Literal["push"]
    contact: str = Field(
        pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$",
        description="your address for the push services, such as mailto:you@example.org",
    )
    urgent: tuple[EventKind, ...] = Field(
        default=(EventKind.CAMERA_OFFLINE, EventKind.NODE_OFFLINE, EventKind.PART_FAILED),
        description="events that also reach a device in its quiet hours, if it asks for that",
    )
    allow_private: bool = Field(
        default=False, description="also send to http addresses and to those of the own network; only for tests"
    )
    _store: Path = PrivateAttr(default=Path("push.db"))

    @property
    def store(self) -> Path:
        """The SQLite file of the devices, beside the event file."""
        return self._store


class PluginChannel(ChannelBase):
    """A Python hook of an installed package, with an entry point in the group ``maskwatch.alert_hooks``."""

    only_in_file: ClassVar[bool] = True
    kind: Literal["plugin"]
    plugin: str = Field(min_length=1, description="name of the hook's entry point")
    options: dict[str, str | int | float | bool] = Field(default_factory=dict, description="options of the hook")


Channel = Annotated[
    CommandChannel
    | WebhookChannel
    | MqttChannel
    | AppriseChannel
    | SoundChannel
    | NatsChannel
    | PushChannel
    | PluginChannel,
    Field(discriminator="kind"),
]


class ReportSettings(SettingsTable):
    """``[alerts.report]``: the numbers of each day, week or month as a message."""

    every: Literal["off", "day", "week", "month"] = Field(default="off", description="how often a report is sent")
    at: TimeOfDay = Field(default="07:00", description="time of the day after the period, HH:MM")
    timezone: TimeZone = Field(default="", description="time zone of the report; if empty, that of this machine")
    language: Language = Field(default="en", description="language of the report, such as de")
    channels: tuple[str, ...] = Field(
        default=(), description="names of the channels that send it, whatever they filter"
    )


def push_file(store: Path) -> Path:
    """The file of the devices that get alerts, which belongs to the event file ``store``."""
    return store.with_name(f"{store.stem}.push.db")


class AlertSettings(SettingsTable):
    """``[alerts]``: where events are stored and how long alerts are retried."""

    store: GivenPath = Field(default_factory=default_store, description="SQLite file of the events and the outbox")
    persist: bool = Field(
        default=True, description="false: store events in memory only; unsent alerts are lost at exit"
    )
    store_files: bool = Field(
        default=False, description="also store and count files and the demo, not only live cameras; --store sets it"
    )
    keep_days: float = Field(default=30.0, gt=0, description="days after which events are deleted")
    max_store_mb: float = Field(
        default=200.0, ge=0.25, description="maximum size of the store; the oldest events are deleted"
    )
    max_outbox: int = Field(
        default=10_000, ge=1, description="maximum pending alerts per channel; if it is full, the oldest is given up"
    )
    retry_first_s: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="first pause after a failure; it doubles after each further failure",
    )
    retry_max_s: float = Field(default=300.0, gt=0, allow_inf_nan=False, description="maximum pause after a failure")
    snapshots: Literal["off", "blur_others", "blur_all"] = Field(
        default="off",
        description="images that are stored with events: none, with all other faces blurred, or with all faces blurred",
    )
    channels: tuple[Channel, ...] = ()
    report: ReportSettings = ReportSettings()

    @field_validator("store")
    @classmethod
    def _names_a_file(cls, store: Path) -> Path:
        if store.name in ("", ".."):
            raise ValueError(f"'{store.as_posix()}' is not a file name; give one, such as events.db")
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
    def _report_can_be_sent(self) -> Self:
        kinds = {channel.name: channel.kind for channel in self.channels}
        for name in self.report.channels:
            if kinds.get(name, "sound") in ("sound", "nats"):
                able = ", ".join(each for each, kind in kinds.items() if kind not in ("sound", "nats")) or "none yet"
                raise ValueError(f"report: no channel {name!r} that can send a text; choose from: {able}")
        if self.report.every != "off" and not self.report.channels:
            raise ValueError("report: channels is empty; name the channels that send it")
        days = {"off": 0, "day": 2, "week": 8, "month": 32}[self.report.every]
        if self.keep_days < days:
            raise ValueError(f"report: its numbers are deleted before it is sent; set keep_days to {days} or more")
        if self.report.every != "off" and not self.persist:
            raise ValueError("a report needs stored events, and persist is false; set one of them")
        return self

    @model_validator(mode="after")
    def _place_devices(self) -> Self:
        for channel in self.channels:
            if isinstance(channel, PushChannel):
                channel._store = push_file(self.store)
        return self

    @model_validator(mode="after")
    def _snapshots_allowed(self) -> Self:
        names = [channel.name for channel in self.channels if channel.snapshot]
        if names and self.snapshots == "off":
            raise ValueError(f"channel {names[0]!r} sends snapshots; set snapshots to blur_others or blur_all")
        leaving = [each.name for each in self.channels if isinstance(each, NatsChannel) and each.snapshot]
        if leaving and self.snapshots != "blur_all":
            raise ValueError(f"channel {leaving[0]!r} sends snapshots to other sites; set snapshots to blur_all")
        return self

"""The settings of one source. Credentials are kept apart from the uri, so that they do not appear in messages."""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from app.core.schedule import parse_hours, time_zone
from app.core.secrets import HIDDEN, redact
from app.core.text import parse_duration
from app.core.translation import languages
from app.settings.polygons import Polygon
from app.settings.source_uri import (
    SourceKind,
    check_characters,
    check_main_uri,
    check_uri,
    expand_environment,
    kind_of,
    name_of,
    take_apart,
    with_userinfo,
)
from app.settings.table import GivenPath, SettingsTable

_RATIO = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,4})?:(?!0+(?:\.0+)?$)[0-9]{1,5}(?:\.[0-9]{1,4})?")
_SEGMENTS_S = 20.0
YEARS = range(1900, 2300)
"""In which a video may begin: Python cannot show the times of all others, least of all in another time zone."""


def _quotient(ratio: str) -> float:
    width, _, height = ratio.partition(":")
    return float(width) / float(height)


def _number(value: object) -> object:
    """Flags and environment variables give numbers as text."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _seconds(value: object) -> object:
    """Converts ``0.2s`` or ``1:30``. Raises ValueError for other text."""
    return parse_duration(value) if isinstance(value, str) else value


def _check_timezone(name: str) -> str:
    time_zone(name)
    return name


def _check_time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError(f"{text!r} is not a time of day; write it like '04:00'")
    return text


def _check_schedule(lines: tuple[str, ...]) -> tuple[str, ...]:
    for line in lines:
        parse_hours(line)
    return lines


def _check_language(code: str) -> str:
    if code not in languages():
        raise ValueError(f"there is no translation to {code!r}; choose {', '.join(languages())}")
    return code


Duration = Annotated[float, BeforeValidator(_seconds)]
Language = Annotated[str, AfterValidator(_check_language)]
Schedule = Annotated[tuple[str, ...], AfterValidator(_check_schedule)]
TimeOfDay = Annotated[str, AfterValidator(_check_time_of_day)]
TimeZone = Annotated[str, AfterValidator(_check_timezone)]


class SourceSettings(SettingsTable):
    """One source. ``${NAME}`` in ``uri``, ``username`` and ``password`` is replaced by the environment variable.
    Credentials in ``uri`` are moved to ``username`` and ``password``, so that ``uri`` can be shown."""

    uri: Annotated[str, AfterValidator(check_uri)] = Field(
        description="0, /dev/video0, rtsp://…, http(s)://…, a video, an image, a folder of images or of videos, or demo"
    )
    main_uri: Annotated[str, AfterValidator(check_main_uri)] | None = Field(
        default=None,
        description="the main stream of a camera whose sub-stream is uri, such as rtsp://…/main: snapshots and clips "
        "are taken from it, only uri is analysed; with the user name and password of uri",
    )
    name: str = Field(
        default="", max_length=80, description="name of the camera on screen and in events; if empty, made from the uri"
    )
    backend: Literal["auto", "any", "v4l2", "dshow", "avfoundation", "ffmpeg", "gstreamer"] = "auto"
    width_px: int | None = Field(default=None, ge=16, le=16384, description="frame width requested from a camera")
    height_px: int | None = Field(default=None, ge=16, le=16384, description="frame height requested from a camera")
    fps: float | None = Field(
        default=None, gt=0, le=1000, description="frame rate requested from a camera, or rate of a folder's images"
    )
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    decoder_threads: int = Field(
        default=1, ge=1, le=64, description="decoder threads of a stream; each one above 1 adds a delay of one frame"
    )
    decoder: Literal["cpu", "auto", "cuda", "d3d11va", "qsv", "vaapi", "videotoolbox"] = Field(
        default="cpu",
        description="what decodes streams and videos; auto: the first graphics processor that works. Without one, the "
        "CPU decodes",
    )
    open_timeout_s: float = Field(default=5.0, gt=0, le=120)
    read_timeout_s: float = Field(default=5.0, gt=0, le=120)
    stale_after_s: float = Field(
        default=3.0, gt=0, le=3600, description="a live source without a frame for this time is STALE"
    )
    frozen_after_s: float = Field(
        default=10.0, ge=0, le=86400, description="a live source with the same image for this time is STALE; 0: off"
    )
    reconnect_s: tuple[float, ...] = Field(
        default=(1.0, 5.0, 10.0, 30.0, 60.0),
        min_length=1,
        max_length=20,
        description="pauses before each attempt to reconnect; the last one is repeated",
    )
    key_frame_timeout_s: float = Field(
        default=60.0, gt=0, le=600, description="how long to wait for the first key frame while packets arrive"
    )
    login_retry_s: float = Field(
        default=600.0, ge=1, le=86400, description="pause after a rejected login, because cameras lock accounts"
    )
    snapshot_interval_s: float = Field(
        default=0.2, ge=0.02, le=3600, description="time between two images of an http address with a single image"
    )
    live: bool | None = Field(
        default=None, description="whether an http address is a live stream or a video; if not set, it is found out"
    )
    tls_verify: bool = Field(
        default=False, description="verify the certificate of https and rtsps; most cameras have one that nobody signed"
    )
    tls_ca_file: GivenPath | None = Field(
        default=None, description="PEM file with the certificate to trust, such as the camera's own; sets tls_verify"
    )
    username: str | None = Field(
        default=None, description="user name of a stream; ${NAME} is replaced by the environment variable"
    )
    password: SecretStr | None = Field(
        default=None, description="password of a stream; ${NAME} is replaced by the environment variable"
    )
    rotate: Annotated[Literal[0, 90, 180, 270], BeforeValidator(_number)] = Field(
        default=0, description="degrees clockwise by which frames are rotated: 180 for a camera that hangs upside down"
    )
    flip: Literal["none", "horizontal", "vertical"] = Field(
        default="none", description="mirror frames after the rotation: horizontal swaps left and right"
    )
    aspect_ratio: str | None = Field(
        default=None,
        description="shape of the picture before the rotation, such as '16:9', if a recorder squeezes it and does not "
        "say so; default: as the stream says",
    )
    blackout: tuple[Polygon, ...] = Field(
        default=(),
        description="polygons that are painted black before anything else sees the picture: [x, y] corners from 0 to 1 "
        "in the picture as the camera sends it, before rotate and flip",
    )
    every_s: Duration = Field(
        default=0.0, ge=0, le=3600, description="analyse one frame of a video in each period of this length; 0: all"
    )
    key_frames: bool = Field(default=False, description="analyse only the key frames of a video, which costs least")
    from_s: Duration = Field(default=0.0, ge=0, le=1e9, description="start at this time within a video, such as '1:30'")
    to_s: Duration | None = Field(default=None, gt=0, description="stop at this time within a video")
    starts_at: datetime | None = Field(
        default=None,
        description="when a video was begun, such as 2026-11-23T14:30; if not given, from its name by name_pattern, "
        "its metadata or the date of the file",
    )
    name_pattern: str = Field(
        default="",
        description="how the name of a video says when it was begun, such as '%Y-%m-%d/%H/%M.%S.mp4'; the patterns of "
        "common recorders are known",
    )
    timezone: TimeZone = Field(
        default="",
        description="time zone of starts_at, of a video's name, and of the policy, such as 'Europe/Berlin'; if "
        "empty, that of this machine",
    )
    loop: bool = Field(default=False, description="repeat a file, folder or the demo")
    pace: Literal["realtime", "fast"] = Field(default="realtime", description="speed of files")

    @field_validator("starts_at", mode="before")
    @classmethod
    def _is_date(cls, value: object) -> object:
        is_text = isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}", value.strip())
        if value is not None and not is_text and not isinstance(value, date):  # a number is no date
            raise ValueError("is no date with a time; write it like 2026-11-23T14:30")
        return value

    @field_validator("starts_at")
    @classmethod
    def _is_near(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.year not in YEARS:
            raise ValueError(f"is in the year {moment.year}; years are {YEARS.start} to {YEARS.stop - 1}")
        return moment

    @model_validator(mode="before")
    @classmethod
    def _take_credentials(cls, values: Any) -> Any:
        if not isinstance(values, dict) or isinstance(values.get("uri"), bool):
            return values
        values = dict(values)
        if isinstance(values.get("uri"), int | Path):
            values["uri"] = str(values["uri"])
        for key in ("username", "password"):
            if isinstance(values.get(key), str):
                values[key] = expand_environment(values[key])
        for key in ("uri", "main_uri"):
            if not isinstance(values.get(key), str):
                continue
            values[key], username, password = take_apart(values[key])
            if username and values.get("username") is None:
                values["username"] = username
            if password and values.get("password") is None:
                values["password"] = password
        return values

    @field_validator("username", "password")
    @classmethod
    def _is_one_line(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        """A variable may have a line break at its end, as files have; a camera would lock the account."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        if "\n" in text or "\r" in text:
            raise ValueError("contains a line break; remove it from the variable or the setting")
        return value

    @field_validator("aspect_ratio")
    @classmethod
    def _check_aspect_ratio(cls, ratio: str | None) -> str | None:
        if ratio is not None and not (_RATIO.fullmatch(ratio) and 0.2 <= _quotient(ratio) <= 5):
            raise ValueError("must be width:height, such as 16:9 or 4:3")
        return ratio

    @field_validator("reconnect_s")
    @classmethod
    def _check_reconnect(cls, waits_s: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < wait_s <= 3600 for wait_s in waits_s):
            raise ValueError("each wait must be above 0 and at most 3600 seconds")
        return waits_s

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return redact(check_characters(name).strip())

    @model_validator(mode="after")
    def _default_name(self) -> Self:
        if not self.name:
            object.__setattr__(self, "name", name_of(self.uri))  # the model is frozen after validation only
        return self

    @model_validator(mode="after")
    def _cover_snapshot_interval(self) -> Self:
        """A camera that is asked every 30 s must not count as lost or stale between two images."""
        if "snapshot_interval_s" in self.model_fields_set:
            least_s = 2 * self.snapshot_interval_s
            for name in ("read_timeout_s", "stale_after_s", *(["frozen_after_s"] if self.frozen_after_s else [])):
                object.__setattr__(self, name, max(getattr(self, name), least_s))
        return self

    @model_validator(mode="after")
    def _check_part(self) -> Self:
        if self.to_s is not None and self.to_s <= self.from_s:
            raise ValueError(f"to_s {self.to_s:g} is not after from_s {self.from_s:g}; swap them")
        return self

    @property
    def is_sampled(self) -> bool:
        """Whether only some frames of a video are read."""
        return self.every_s > 0 or self.key_frames or self.from_s > 0 or self.to_s is not None

    @property
    def is_http(self) -> bool:
        return self.uri.lower().startswith(("http://", "https://"))

    @property
    def verifies_tls(self) -> bool:
        return self.tls_verify or self.tls_ca_file is not None

    @property
    def kind(self) -> SourceKind:
        return kind_of(self.uri)

    def with_uri(self, uri: str) -> Self:
        return self.model_copy(update={"uri": uri})

    @property
    def geometry(self) -> tuple[int, str, str | None, tuple[Polygon, ...]]:
        return self.rotate, self.flip, self.aspect_ratio, self.blackout

    @property
    def display_aspect(self) -> float:
        """``aspect_ratio`` as width divided by height; 0 if it is not given."""
        return _quotient(self.aspect_ratio) if self.aspect_ratio else 0.0

    @property
    def is_live(self) -> bool:
        return self.kind in (SourceKind.CAMERA, SourceKind.STREAM)

    @property
    def is_segmented(self) -> bool:
        """Whether the stream is HLS, which delivers segments of some seconds at once."""
        if ".m3u" not in self.uri.lower():  # as usual: this is asked for each frame
            return False
        return self.kind is SourceKind.STREAM and urlsplit(self.uri).path.lower().endswith((".m3u8", ".m3u"))

    @property
    def silence_s(self) -> float:
        """How long a read may last: at least three segments of the usual length for HLS."""
        return max(self.read_timeout_s, _SEGMENTS_S) if self.is_segmented else self.read_timeout_s

    @property
    def shown(self) -> str:
        """The uri without secrets, for messages."""
        return redact(self.uri)

    def hide(self, text: str) -> str:
        """``text`` without credentials, also without this source's password outside of a URI."""
        secret = self.password.get_secret_value() if self.password else ""
        for form in {secret, quote(secret, safe="")} if len(secret) > 2 else ():
            text = text.replace(form, HIDDEN)
        return redact(text)

    def connect_uri(self) -> str:
        """The uri with its credentials, only for the decoder: never show or log it."""
        if self.username is None:
            return self.uri
        secret = f":{quote(self.password.get_secret_value(), safe='')}" if self.password else ""
        return with_userinfo(self.uri, f"{quote(self.username, safe='')}{secret}")

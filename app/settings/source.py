"""The settings of one source. Credentials are kept apart from the uri, so that they do not appear in messages."""

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from app.core.files import exists, is_folder
from app.core.schedule import time_zone
from app.core.secrets import HIDDEN, redact
from app.core.text import parse_duration
from app.core.translation import languages

STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp"})
IMAGE_SUFFIXES = frozenset(
    {
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pam"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""The images of a folder. HEIC is among them so that it is refused by name."""
_ANIMATIONS = frozenset({".apng", ".gif"})
"""Alone they are videos; of those in a folder the first frame is read."""
_LISTENING_SCHEMES = frozenset({"udp", "rtp"})
"""Their address may have no host: ``udp://:5000`` receives on port 5000 of this machine."""

_PACKET_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "rtmps://")
"""Of a main stream, whose packets are kept."""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://")
# At most two digits, because a folder of images may be called 20240131.
_CAMERA = re.compile(r"[0-9]{1,2}|/dev/video[0-9]+")
_RATIO = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,4})?:(?!0+(?:\.0+)?$)[0-9]{1,5}(?:\.[0-9]{1,4})?")
_SEGMENTS_S = 20.0
_NAMED = re.compile(r"([^=/\\?:@]*[^=/\\?:@\s][^=/\\?:@]*)=(.+)", re.DOTALL)
"""NAME=SOURCE. A name contains no part of an address, so the '=' in the query of an address does not count."""
_HALF_SCHEME = re.compile(r"(rtsps?|https?|rtmps?)(?::/{0,2}|/{1,2})", re.IGNORECASE)
_HOST = re.compile(
    r"(?P<login>[^/@\s]*@)?(?P<host>localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)*)"
    r"(?P<port>:[0-9]{1,5})?(?P<path>[/?].*)?"
)
VIDEO_SUFFIXES = frozenset(
    {
        *(
            ".mp4",
            ".m4v",
            ".mov",
            ".avi",
            ".mkv",
            ".webm",
            ".wmv",
            ".asf",
            ".flv",
            ".f4v",
            ".ts",
            ".mts",
            ".m2ts",
            ".mpg",
        ),
        *(
            ".mpeg",
            ".vob",
            ".3gp",
            ".ogv",
            ".mxf",
            ".dav",
            ".mjpg",
            ".mjpeg",
            ".h264",
            ".h265",
            ".264",
            ".265",
            ".hevc",
        ),
        *(".y4m", ".rm", ".divx", ".m3u", ".m3u8", ".sdp", ".gif"),
    }
)
_LOCAL_NAMES = frozenset({"local", "lan", "home", "internal"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


Point = tuple[float, float]
"""Fractions of the width and the height of a picture."""


class SourceKind(StrEnum):
    CAMERA = "camera"
    STREAM = "stream"
    FILE = "file"
    IMAGES = "images"
    DEMO = "demo"


def named_source(text: str) -> dict[str, str]:
    """The settings of ``--source``: NAME=SOURCE, or SOURCE alone. A file whose path contains '=' is a source."""
    match = _NAMED.fullmatch(text)
    if match is None or exists(Path(text)):
        return {"uri": text}
    return {"name": match[1].strip(), "uri": match[2]}


def is_photo(uri: str) -> bool:
    """Whether ``uri`` is a single image. An animation is a video."""
    suffix = Path(uri).suffix.lower()
    return not _SCHEME.match(uri) and suffix in IMAGE_SUFFIXES - _ANIMATIONS and not is_folder(Path(uri))


def _address_without_scheme(uri: str) -> str:
    """The address to write for ``uri``, without secrets, if it is probably one without its scheme; else ''."""
    half = _HALF_SCHEME.match(uri)
    scheme, rest = (half[1].lower(), uri[half.end() :]) if half else ("rtsp", uri)
    match = _HOST.fullmatch(rest)
    if match is None:
        return ""
    host, login = match["host"], match["login"] or ""
    last = host.rpartition(".")[2].lower()
    is_address = (
        (last.isdigit() and host.count(".") == 3) or host[0] == "[" or host == "localhost" or last in _LOCAL_NAMES
    )
    is_domain = host.count(".") >= 2 and last.isalpha() and f".{last}" not in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if not (half or ":" in login or match["port"] or is_address or is_domain):
        return ""
    shown = redact(f"{scheme}://{host}{match['port'] or ''}{match['path'] or ''}")
    return shown.replace("://", "://USER:PASSWORD@", 1) if login else shown


def expand_environment(text: str, read: Callable[[str], str] = str) -> str:
    """``text`` with each ``${NAME}`` replaced by its unchanged value; ``read`` converts the text between them.

    Raises ValueError if NAME is not set.
    """

    def value(name: str) -> str:
        found = os.environ.get(name)
        if found is None:
            raise ValueError(f"environment variable {name} is not set; set it or write the value instead")
        return found

    parts = _VARIABLE.split(text)  # text and names alternate
    return "".join(value(part) if i % 2 else read(part) for i, part in enumerate(parts))


def _cut_userinfo(uri: str) -> tuple[str, str]:
    """(uri without userinfo, userinfo or '')."""
    match = _SCHEME.match(uri)
    if match is None:
        return uri, ""
    start = match.end()
    end = min((i for i in (uri.find(c, start) for c in "/?#") if i >= 0), default=len(uri))
    at = uri.rfind("@", start, end)
    return (uri[:start] + uri[at + 1 :], uri[start:at]) if at >= 0 else (uri, "")


def _take_apart(uri: str) -> tuple[str, str, str]:
    """(uri without credentials, username or '', password or ''), with ``${NAME}`` replaced.

    The uri is split first: a value may contain any special character, and its '%' is not an escape.
    """
    uri, userinfo = _cut_userinfo(uri.strip())
    # A value may also be an address with credentials: it is parsed as if it were written here.
    uri, within = _cut_userinfo(expand_environment(uri).strip())
    if not userinfo:
        username, _, password = within.partition(":")
        return uri, unquote(username), unquote(password)
    username, colon, password = userinfo.partition(":")
    username, password = expand_environment(username, unquote), expand_environment(password, unquote)
    if not colon and _VARIABLE.fullmatch(userinfo):  # one variable contains both
        username, _, password = username.partition(":")
    return uri, username, password


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


def _check_polygon(polygon: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(polygon) < 3:
        raise ValueError("a region needs at least three corners")
    _check_points(polygon)
    if crosses_itself(polygon):
        raise ValueError("the outline crosses or touches itself; move or remove a corner")
    return polygon


def _check_points(points: tuple[Point, ...]) -> tuple[Point, ...]:
    if any(not 0 <= value <= 1 for point in points for value in point):
        raise ValueError("corners are fractions of width and height, from 0 to 1")
    return points


def _check_line(line: tuple[Point, Point]) -> tuple[Point, Point]:
    if line[0] == line[1]:
        raise ValueError("both points are the same; move one")
    return line


def crosses_itself(polygon: Sequence[Point]) -> bool:
    """Whether two sides have a point in common that is not the corner between them."""
    sides = list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))
    for i, (a, b) in enumerate(sides):
        after = sides[(i + 1) % len(sides)][1]
        turns_back = (b[0] - a[0]) * (after[0] - b[0]) + (b[1] - a[1]) * (after[1] - b[1]) < 0
        if a == b or (turns_back and _turn(a, b, after) == 0):
            return True
        if any(_meet(a, b, c, d) for c, d in sides[i + 2 : len(sides) - (i == 0)]):
            return True
    return False


def _turn(a: Point, b: Point, c: Point) -> float:
    """0 if the way from ``a`` over ``b`` to ``c`` is straight; else its sign says to which hand it turns."""
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the lines from ``a`` to ``b`` and from ``c`` to ``d`` have a point in common."""
    is_near = all(max(min(a[i], b[i]), min(c[i], d[i])) <= min(max(a[i], b[i]), max(c[i], d[i])) for i in (0, 1))
    return is_near and _turn(a, b, c) * _turn(a, b, d) <= 0 and _turn(c, d, a) * _turn(c, d, b) <= 0


def _check_language(code: str) -> str:
    if code not in languages():
        raise ValueError(f"there is no translation to {code!r}; choose {', '.join(languages())}")
    return code


Duration = Annotated[float, BeforeValidator(_seconds)]
Language = Annotated[str, AfterValidator(_check_language)]
TimeZone = Annotated[str, AfterValidator(_check_timezone)]
Polygon = Annotated[tuple[Point, ...], AfterValidator(_check_polygon)]
Line = Annotated[tuple[Point, Point], AfterValidator(_check_points), AfterValidator(_check_line)]


class SourceSettings(BaseModel):
    """One source. ``${NAME}`` in ``uri``, ``username`` and ``password`` is replaced by the environment variable.
    Credentials in ``uri`` are moved to ``username`` and ``password``, so that ``uri`` can be shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    uri: str = Field(
        description="0, /dev/video0, rtsp://…, http(s)://…, a video, an image, a folder of images or of videos, or demo"
    )
    main_uri: str | None = Field(
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
    tls_ca_file: Path | None = Field(
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
    from_s: Duration = Field(default=0.0, ge=0, description="start at this time within a video, such as '1:30'")
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
        if isinstance(value, str) and not re.match(r"\d{4}-\d{2}-\d{2}", value.strip()):  # a number is no date
            raise ValueError("is no date with a time; write it like 2026-11-23T14:30")
        return value

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
            values[key], username, password = _take_apart(values[key])
            if username and values.get("username") is None:
                values["username"] = username
            if password and values.get("password") is None:
                values["password"] = password
        return values

    @field_validator("uri")
    @classmethod
    def _check_uri(cls, uri: str) -> str:
        if not uri:
            raise ValueError("is empty; give 0 for the first camera, a stream, a file, a folder, or demo")
        check_characters(uri)
        match = _SCHEME.match(uri)
        if match is None:
            if re.fullmatch(r"-\d+", uri):
                raise ValueError(f"is {uri}, but cameras are counted from 0")
            address = _address_without_scheme(uri)
            if address and not exists(Path(uri)):
                raise ValueError(f"is no file; for a network camera write {address}")
            return _expand_home(uri)
        scheme = match.group(1).lower()
        if scheme == "file":
            path = unquote(urlsplit(uri).path)
            return path.lstrip("/") if sys.platform == "win32" else path
        if scheme not in STREAM_SCHEMES:
            raise ValueError(f"has the unknown scheme {scheme}; use rtsp, http, https or the path of a file")
        if any(c.isspace() for c in uri):
            raise ValueError("contains a space; write it as %20")
        try:
            parts = urlsplit(uri)
            host, _ = parts.hostname, parts.port
        except ValueError as error:  # its message may quote a part of the uri
            raise ValueError("has no valid host and port; check both") from error
        if not host and not (scheme in _LISTENING_SCHEMES and parts.port):
            raise ValueError(f"has no host; write {scheme}://host:port/path")
        return uri

    @field_validator("main_uri")
    @classmethod
    def _check_main_uri(cls, uri: str | None) -> str | None:
        if uri is not None and not uri.lower().startswith(_PACKET_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(_PACKET_SCHEMES)}")
        return uri if uri is None else cls._check_uri(uri)

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
            object.__setattr__(self, "name", _name_from(self))  # the model is frozen after validation only
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
        if self.uri.lower() == "demo":
            return SourceKind.DEMO
        if _SCHEME.match(self.uri):
            return SourceKind.STREAM
        if _CAMERA.fullmatch(self.uri):
            return SourceKind.CAMERA
        path = Path(self.uri)
        suffix = path.suffix.lower()
        if is_folder(path) or is_photo(self.uri):
            return SourceKind.IMAGES
        if suffix == ".sdp":
            return SourceKind.STREAM
        return SourceKind.FILE

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
        match = _SCHEME.match(self.uri)
        if match is None or self.username is None:
            return self.uri
        secret = f":{quote(self.password.get_secret_value(), safe='')}" if self.password else ""
        return f"{match.group()}{quote(self.username, safe='')}{secret}@{self.uri[match.end() :]}"


def check_characters(text: str) -> str:
    """Returns ``text``. Raises ValueError if it contains control characters or is not UTF-8. Unicode spaces and joiners
    are allowed: macOS writes U+202F into the names of screen recordings."""
    kinds = {unicodedata.category(character) for character in text}
    if kinds & {"Cc", "Zl", "Zp"}:
        raise ValueError("contains a control character; rename it")
    if "Cs" in kinds:
        raise ValueError("is not UTF-8; rename it")
    return text


def _expand_home(path: str) -> str:
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise ValueError("starts with ~, but there is no such home folder; write the full path") from error


def _name_from(settings: SourceSettings) -> str:
    """A short name: never the path of an address, which may contain a login or a channel number."""
    uri, kind = settings.uri, settings.kind
    if kind is SourceKind.DEMO:
        return "demo"
    if kind is SourceKind.CAMERA:
        return f"Camera {int(uri.removeprefix('/dev/video')) + 1}"
    if kind is SourceKind.STREAM and _SCHEME.match(uri):
        parts = urlsplit(redact(uri))
        return (parts.hostname or f"{parts.scheme}-{parts.port}")[:80]
    path = Path(uri)
    return (path.stem or path.resolve().name or uri)[:80]

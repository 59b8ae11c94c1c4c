"""What may be written as a source: its kinds, its checks, and the credentials within it."""

import os
import re
import sys
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.core.files import exists, is_folder
from app.core.secrets import redact

_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp"})
IMAGE_SUFFIXES = frozenset(
    {
        *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pam"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""The images of a folder. HEIC is among them so that it is refused by name."""
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".asf", ".flv", ".f4v", ".ts", ".mts", ".m2ts"),
        *(".mpg", ".mpeg", ".vob", ".3gp", ".ogv", ".mxf", ".dav", ".mjpg", ".mjpeg", ".h264", ".h265", ".264", ".265"),
        *(".hevc", ".y4m", ".rm", ".divx", ".m3u", ".m3u8", ".sdp", ".gif"),
    }
)
_ANIMATIONS = frozenset({".apng", ".gif"})
"""Alone they are videos; of those in a folder the first frame is read."""
_LISTENING_SCHEMES = frozenset({"udp", "rtp"})
"""Their address may have no host: ``udp://:5000`` receives on port 5000 of this machine."""
_PACKET_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "rtmps://")
"""Of a main stream, whose packets are kept."""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://")
# At most two digits, because a folder of images may be called 20240131.
_CAMERA = re.compile(r"[0-9]{1,2}|/dev/video[0-9]+")
_NAMED = re.compile(r"([^=/\\?:@]*[^=/\\?:@\s][^=/\\?:@]*)=(.+)", re.DOTALL)
"""NAME=SOURCE. A name contains no part of an address, so the '=' in the query of an address does not count."""
_HALF_SCHEME = re.compile(r"(rtsps?|https?|rtmps?)(?::/{0,2}|/{1,2})", re.IGNORECASE)
_HOST = re.compile(
    r"(?P<login>[^/@\s]*@)?(?P<host>localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)*)"
    r"(?P<port>:[0-9]{1,5})?(?P<path>[/?].*)?"
)
_LOCAL_NAMES = frozenset({"local", "lan", "home", "internal"})
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class SourceKind(StrEnum):
    CAMERA = "camera"
    STREAM = "stream"
    FILE = "file"
    IMAGES = "images"
    DEMO = "demo"


def kind_of(uri: str) -> SourceKind:
    if uri.lower() == "demo":
        return SourceKind.DEMO
    if _SCHEME.match(uri):
        return SourceKind.STREAM
    if _CAMERA.fullmatch(uri):
        return SourceKind.CAMERA
    if is_folder(Path(uri)) or is_photo(uri):
        return SourceKind.IMAGES
    return SourceKind.STREAM if Path(uri).suffix.lower() == ".sdp" else SourceKind.FILE


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


def check_uri(uri: str) -> str:
    """Returns ``uri`` as it is opened. Raises ValueError."""
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
    if scheme not in _SCHEMES:
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


def check_main_uri(uri: str) -> str:
    if not uri.lower().startswith(_PACKET_SCHEMES):
        raise ValueError(f"must begin with {' or '.join(_PACKET_SCHEMES)}")
    return check_uri(uri)


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


def take_apart(uri: str) -> tuple[str, str, str]:
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


def with_userinfo(uri: str, userinfo: str) -> str:
    """``uri`` with ``userinfo`` if it is an address, else ``uri``."""
    match = _SCHEME.match(uri)
    return f"{match.group()}{userinfo}@{uri[match.end() :]}" if match else uri


def name_of(uri: str) -> str:
    """A short name for the source: never the path of an address, which may contain a login or a channel number."""
    kind = kind_of(uri)
    if kind is SourceKind.DEMO:
        return "demo"
    if kind is SourceKind.CAMERA:
        return f"Camera {int(uri.removeprefix('/dev/video')) + 1}"
    if kind is SourceKind.STREAM and _SCHEME.match(uri):
        parts = urlsplit(redact(uri))
        return (parts.hostname or f"{parts.scheme}-{parts.port}")[:80]
    path = Path(uri)
    return (path.stem or path.resolve().name or uri)[:80]

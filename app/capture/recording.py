"""Recorded videos: when they were begun, and an id that follows from their content."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path, PurePath
from typing import Any

import av
from av.error import FFmpegError

from app.capture.image_folder import list_images
from app.capture.pyav_backend import container_duration_s
from app.core.errors import SettingsError, SourceError
from app.core.files import is_file, is_folder
from app.core.schedule import time_zone
from app.settings.source import YEARS, SourceSettings
from app.settings.source_uri import VIDEO_SUFFIXES, SourceKind

RECORDING_SUFFIXES = VIDEO_SUFFIXES - {".m3u", ".m3u8", ".sdp", ".gif"}
"""In a folder of videos, playlists and pictures that move are no recordings."""
_HEAD_BYTES = 65_536
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""Cameras without a clock write 1904 or 1970 into their videos."""
_CODES = {"Y": r"\d{4}", "y": r"\d{2}", "m": r"\d{2}", "d": r"\d{2}", "H": r"\d{2}", "M": r"\d{2}", "S": r"\d{2}",
          "f": r"\d{1,6}", "s": r"\d{9,10}(?:\.\d+)?"}  # fmt: skip
_PATTERN_PART = re.compile(r"%(.)|\{camera\}|\*|[^%{*]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RecordedName:
    """What the name of a video says: the camera, or '', and when the video was begun (Unix time)."""

    camera: str
    start_s: float


class NamePattern:
    """A pattern such as ``{camera}/%Y-%m-%d/%H/%M.%S.mp4``, which the end of a path must match. ``*`` is any text
    within a folder's name. ``zone``: of the times in the names."""

    def __init__(self, pattern: str, zone: tzinfo | None) -> None:
        """Raises SettingsError if ``pattern`` gives no date."""
        self._zone = zone
        parts: list[str] = []
        seen: set[str] = set()
        for match in _PATTERN_PART.finditer(pattern):
            text, code = match[0], match[1]
            if text in ("{camera}", "*"):
                parts.append("[^/]*?" if text == "*" else "(?P<camera>[^/]+?)" if "camera" not in seen else "[^/]+?")
                seen.add("camera" if text != "*" else "")
            elif code == "%" or code is None:
                parts.append(re.escape("%" if code else text))
            elif code not in _CODES:
                raise SettingsError(f"bad name pattern {pattern!r}: unknown %{code}; use %{', %'.join(_CODES)}")
            else:
                parts.append(_CODES[code] if code in seen else f"(?P<{code}>{_CODES[code]})")
                seen.add(code)
        if not ("s" in seen or ({"m", "d"} <= seen and seen & {"Y", "y"})):
            raise SettingsError(f"bad name pattern {pattern!r}: it gives no date; write %Y, %m and %d, or %s")
        self._regex = re.compile(r"(?:^|/)" + "".join(parts) + r"\Z")

    def read(self, path: PurePath | str) -> RecordedName | None:
        """None if ``path`` does not match or is no date."""
        match = self._regex.search(path.as_posix() if isinstance(path, PurePath) else path.replace("\\", "/"))
        if match is None:
            return None
        found = match.groupdict()
        camera = found.get("camera") or ""
        if found.get("s"):
            return RecordedName(camera, float(found["s"]))
        year = int(found["Y"]) if found.get("Y") else 2000 + int(found["y"])
        try:
            if year not in YEARS:
                return None
            hour, minute, second = (int(found.get(code) or 0) for code in "HMS")
            moment = datetime(year, int(found["m"]), int(found["d"]), hour, minute, second)
            moment += timedelta(microseconds=int((found.get("f") or "0").ljust(6, "0")))
            return RecordedName(camera, moment.replace(tzinfo=self._zone).timestamp())
        except (ValueError, OverflowError, OSError):
            return None


_RECORDERS = (
    ("recordings/%Y-%m-%d/%H/{camera}/%M.%S.*", UTC),  # Frigate
    ("{camera}/%Y-%m-%d/%H/%M.%S.*", None),
    ("{camera}/%Y-%m-%d/%H-%M-%S.*", None),  # motionEye
    ("{camera}.%Y%m%d_%H%M%S.*", None),  # Blue Iris
    ("{camera}[_-]%Y%m%d[_-]%H%M%S.*", None),
    ("{camera}_%Y-%m-%d_%H-%M-%S.*", None),
    ("%Y-%m-%d[_ T]%H[-.]%M[-.]%S.*", None),
    ("%Y%m%d[_-]%H%M%S.*", None),
)
"""The names that common recorders give, with the time zone if it is not the camera's."""


def name_patterns(pattern: str, zone: tzinfo | None) -> tuple[NamePattern, ...]:
    """The given ``pattern``, or those of common recorders. Raises SettingsError if it cannot be read."""
    if pattern:
        return (NamePattern(pattern, zone),)
    return tuple(NamePattern(form, own or zone) for text, own in _RECORDERS for form in _alternatives(text))


def _alternatives(pattern: str) -> list[str]:
    """``a[_-]b`` as ``a_b`` and ``a-b``."""
    head, bracket, rest = pattern.partition("[")
    if not bracket:
        return [pattern]
    choices, _, tail = rest.partition("]")
    return [head + choice + end for choice in choices for end in _alternatives(tail)]


def read_name(patterns: Sequence[NamePattern], path: PurePath | str) -> RecordedName | None:
    """What the first matching pattern reads."""
    return next((name for pattern in patterns if (name := pattern.read(path)) is not None), None)


UNKNOWN = "nothing, so 1970; give --start or --pattern"


@dataclass(frozen=True, slots=True)
class VideoStart:
    """When a video was begun (Unix time), and where that is from: setting, name, metadata or file date;
    ``UNKNOWN`` for a video of a server that says none of these."""

    wall_s: float
    origin: str


def video_start(settings: SourceSettings, path: Path, container: Any = None) -> VideoStart:
    """``container``: the open PyAV container of ``path``, or None to open it. Raises SettingsError if the settings'
    name pattern cannot be read or does not match."""
    zone = time_zone(settings.timezone)
    if settings.starts_at is not None:
        moment = settings.starts_at
        return VideoStart((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp(), "setting")
    named = read_name(name_patterns(settings.name_pattern, zone), path.absolute())
    if named is not None:
        return VideoStart(named.start_s, "name")
    if settings.name_pattern:
        raise SettingsError(
            f"{path} does not match the name pattern {settings.name_pattern!r}; check it or give --start"
        )
    if container is not None:
        return _start_from(container, path)
    try:
        with av.open(str(path.absolute())) as opened:
            return _start_from(opened, path)
    except (FFmpegError, OSError, ValueError):
        return _start_from_date(path)


def _start_from(container: Any, path: Path) -> VideoStart:
    for metadata in (container.metadata, *(stream.metadata for stream in container.streams.video)):
        for key in ("com.apple.quicktime.creationdate", "creation_time", "date"):
            try:
                moment = datetime.fromisoformat(metadata.get(key, ""))
            except ValueError:
                continue
            if moment.tzinfo is not None and moment > _EARLIEST and moment.year in YEARS:
                return VideoStart(moment.timestamp(), "metadata")
    return _start_from_date(path, container_duration_s(container))


def _start_from_date(path: Path, duration_s: float = 0.0) -> VideoStart:
    """A recorder writes a file for the last time when the video ends."""
    try:
        return VideoStart(path.stat().st_mtime - duration_s, "file date")
    except OSError:
        return VideoStart(0.0, UNKNOWN)


def video_files(root: Path, on_left_out: Callable[[str, str], object] = lambda *_: None) -> list[Path]:
    """The videos below ``root``, sorted; hidden ones are left out, and folders in it that cannot be read, such as
    lost+found: ``on_left_out`` is called with each and the reason. Raises SourceError if ``root`` cannot be read."""
    if is_file(root):
        return [root]
    found: list[Path] = []

    def failed(error: OSError) -> None:
        if Path(error.filename) == root:
            raise SourceError(f"cannot read folder {root}: {error.strerror}; check its permissions") from error
        on_left_out(error.filename, f"cannot be read: {error.strerror}; check its permissions")

    for folder, folders, names in os.walk(root, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos = (name for name in names if Path(name).suffix.lower() in RECORDING_SUFFIXES and name[0] != ".")
        found += [Path(folder) / name for name in videos]
    return sorted(found)


def content_id(head: bytes, size: int) -> str:
    """The id of a video with this beginning and size: 16 hex digits of SHA-256. Its name and place do not matter."""
    return hashlib.sha256(head[:_HEAD_BYTES] + size.to_bytes(8, "big")).hexdigest()[:16]


def file_id(path: Path) -> str:
    """The ``content_id`` of a file. Raises OSError."""
    if not is_file(path):  # to read a pipe may take for ever
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        return content_id(file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size)


def recording_id(settings: SourceSettings) -> str:
    """The id of a video or of a folder of images or videos; '' for other sources, and if it cannot be read."""
    path = Path(settings.uri)
    with suppress(OSError, ValueError, SourceError):  # opening the source reports it
        if settings.kind is SourceKind.FILE:
            return file_id(path)
        if settings.kind is SourceKind.IMAGES:
            files = (list_images(path) or video_files(path)) if is_folder(path) else [path]
            return hashlib.sha256("".join(map(file_id, files)).encode()).hexdigest()[:16] if files else ""
    return ""

"""Reads the selected frames of a recording: one video, or the consecutive videos that a recorder made of one stream."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path, PurePosixPath
from typing import Any

from av.error import FFmpegError

from app.capture.opencv_backend import check_file
from app.capture.pyav_backend import NoVideoError, PyavReader
from app.capture.reader import FALLBACK_FPS, decode_image, image_stamp_s, plausible_count, plausible_fps, released
from app.capture.recording import RECORDING_SUFFIXES, VideoStart, content_id, video_start
from app.core.errors import MaskwatchError, SourceError
from app.core.secrets import redact
from app.core.types import Image
from app.settings.source import SourceSettings

_HEAD_BYTES = 65_536
_STEP_BACK_S = 0.5
"""Time stamps that go back by more begin again: another recording was appended."""
_SHORT, _SHORT_S = 0.9, 1.0
_FAILED_READS = 10
_GAP_S, _GAP_FRAMES, _GAP_PERIODS, _KEY_FRAME_GAP_S = 1.0, 10, 3, 30.0
"""Frames are missing if there is none for longer than each of these: a second, so many frames at the mean rate of the
video, and so many sampling periods; for key frames, their usual distance is not known."""


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What the beginning of a video says. ``is_seekable``: it has time stamps, so that reading may start anywhere."""

    id: str
    size: int
    duration_s: float
    fps: float
    width_px: int
    height_px: int
    start: VideoStart
    is_seekable: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One video of a recording: stream time of its first frame, its size in bytes when the scan was planned, and its
    length as its container says."""

    uri: str
    offset_s: float
    size: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class SelectedFrame:
    """``time_s``: stream time of the recording. ``second``: of its video, if it is the first selected frame in it.
    ``is_after_gap``: frames are missing before it."""

    image: Image
    time_s: float
    second: int | None
    is_after_gap: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a recording, in stream time, that could not be read, and why."""

    from_s: float
    to_s: float
    reason: str


def read_facts(settings: SourceSettings) -> VideoFacts:
    """Reads the beginning of a video. Raises SourceError if it is none, and SettingsError if its start is not clear."""
    with _opened(settings.uri) as (address, size, head), released(_reader(address, settings)) as reader:
        start = video_start(settings, Path(settings.uri), reader.container)
        fps, count = plausible_fps(reader) or FALLBACK_FPS, plausible_count(reader)
        width_px, height_px = reader.size_px
        duration_s = reader.duration_s or (count or 0) / fps
        return VideoFacts(content_id(head, size), size, duration_s, fps, width_px, height_px, start, reader.has_stamps)


def is_remote(uri: str) -> bool:
    return "://" in uri


def remote_videos(uri: str) -> list[str]:
    """The videos below a folder of a store such as s3:// or sftp://, sorted; ``uri`` itself if it is a file or has no
    folders (http). Raises SourceError."""
    if uri.startswith(("http://", "https://")):
        return [uri]
    with _clear_errors(uri):
        import fsspec

        files, path = fsspec.core.url_to_fs(uri)
        if not files.isdir(path):
            return [uri]
        found = [each for each in files.find(path) if PurePosixPath(each).suffix.lower() in RECORDING_SUFFIXES]
        # Its unstrip_protocol would lose the server and the login of sftp:// and the like
        return sorted(uri.rstrip("/") + each.removeprefix(path.rstrip("/")) for each in found)


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[tuple[Any, int, bytes]]:
    """(what PyAV opens, size, first bytes) of a path, or of a URL such as s3:// through fsspec. Raises SourceError."""
    if not is_remote(uri):
        path = Path(uri)
        check_file(path, "video")
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
            yield str(path.absolute()), path.stat().st_size, head
        except OSError as error:
            raise SourceError(f"cannot read video {path}: {error.strerror or error}; check its permissions") from error
        return
    with _clear_errors(uri):
        import fsspec

        file = fsspec.open(uri, "rb").open()
    with _clear_errors(uri, OSError), file:
        head = file.read(_HEAD_BYTES)
        _check_ranges(file, uri)
        yield file, int(file.size), head


@contextlib.contextmanager
def _clear_errors(uri: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Raises SourceError for errors of ``kind``; the packages for stores raise errors of their own."""
    try:
        yield
    except MaskwatchError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"no such video: {redact(uri)}; check the address") from error
    except ModuleNotFoundError as error:
        package = "fsspec" if error.name == "fsspec" else str(error.name)
        raise SourceError(
            f"cannot read {redact(uri)}: videos of servers need {package}: pip install {package}"
        ) from error
    except kind as error:
        reason = redact(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise SourceError(f"cannot read {redact(uri)}: {reason}; check the address and the login") from error


def _check_ranges(file: Any, uri: str) -> None:
    """Raises SourceError if the server of ``uri`` sends only whole files: a video is read from several places."""
    try:
        file.seek(max(file.size - 1, 0))
        file.read(1)
        file.seek(0)
    except (ValueError, TypeError) as error:  # TypeError: the server does not say the size
        raise SourceError(f"the server of {redact(uri)} sends no parts of files (Range); copy the video") from error


def _reader(address: Any, settings: SourceSettings) -> PyavReader:
    try:
        return PyavReader(address, threads=1)
    except (FFmpegError, NoVideoError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or str(error).splitlines()[0]
        raise SourceError(f"{settings.shown} is not a readable video ({reason}); try to play it") from error


@dataclass(slots=True)
class RecordingReader:
    """``settings``: of the camera, with ``every_s`` or ``key_frames``. ``faults`` grows while the frames are read."""

    parts: Sequence[Part]
    settings: SourceSettings
    faults: list[Fault] = field(default_factory=list)
    _last_s: float = field(default=inf, init=False)

    def frames(self, from_s: float) -> Iterator[SelectedFrame]:
        """The selected frames with a stream time of at least ``from_s``. Parts that cannot be read become faults.

        Which frames are selected does not depend on ``from_s``, but the first second may differ.
        """
        self._last_s = inf
        first = max((i for i, part in enumerate(self.parts) if part.offset_s <= from_s), default=0)
        for part in self.parts[first:]:
            within_s = float(max(int(from_s - part.offset_s), 0))
            try:
                yield from self._part(part, within_s)
            except SourceError as error:
                self.faults.append(Fault(part.offset_s, part.offset_s + part.duration_s, str(error)))

    def _part(self, part: Part, from_s: float) -> Iterator[SelectedFrame]:
        settings = self.settings.with_uri(part.uri)
        with _opened(part.uri) as (address, size, _), released(_reader(address, settings)) as reader:
            self._check_size(part, size)
            try:
                reader.select(settings.every_s, settings.key_frames, from_s)
            except FFmpegError as error:
                raise SourceError(f"cannot seek in {settings.shown} ({error.strerror}); remux it") from error
            mean_step_s = 1.0 / (plausible_fps(reader) or FALLBACK_FPS)
            step_s = max(mean_step_s, settings.every_s)
            gap_s = max(_GAP_S, _GAP_FRAMES * mean_step_s, _GAP_PERIODS * settings.every_s)
            gap_s = _KEY_FRAME_GAP_S if settings.key_frames else gap_s
            time_s, second, failed = -1.0, -1, 0
            while failed < _FAILED_READS:
                image, ok = decode_image(reader, settings)
                if image is None:
                    failed += not ok
                    continue
                stamp_s, failed = image_stamp_s(reader), 0
                if stamp_s is None:
                    stamp_s = max(time_s, -step_s) + step_s
                if stamp_s < time_s - _STEP_BACK_S:
                    reason = f"time stamps of {settings.shown} begin again after {time_s:.1f} s; remux it"
                    self.faults.append(Fault(part.offset_s + time_s, part.offset_s + part.duration_s, reason))
                    return
                if stamp_s <= time_s:
                    continue
                previous, time_s, second = second, stamp_s, int(stamp_s + 1e-6)
                before_s, self._last_s = self._last_s, part.offset_s + time_s
                is_after_gap = self._last_s - before_s > gap_s
                yield SelectedFrame(image, self._last_s, None if second == previous else second, is_after_gap)
            if time_s < 0 and from_s <= 0:
                raise SourceError(f"{settings.shown} contains no frame that can be decoded")
            self._check_end(part, from_s, time_s, reader.reached_s)
        with _opened(part.uri) as (_, size, _):
            self._check_size(part, size)

    def _check_size(self, part: Part, size: int) -> None:
        if size != part.size:
            raise SourceError(
                f"{self.settings.with_uri(part.uri).shown} has changed since the plan ({part.size} bytes, now {size}); "
                "run 'scan plan' again when it is complete"
            )

    def _check_end(self, part: Part, from_s: float, time_s: float, reached_s: float) -> None:
        """``time_s``: of the last selected frame; -1 if there is none from ``from_s`` on. ``reached_s``: of the last
        packet; a frame is selected up to a sampling period before the end, a key frame at any time before it."""
        end_s = max(time_s, from_s)
        if self.settings.key_frames:
            end_s = max(end_s, reached_s)
        if end_s + self.settings.every_s < _SHORT * part.duration_s - _SHORT_S:
            what = f"no frame after {from_s:.0f} s" if time_s < 0 else f"it ends after {time_s:.1f} s"
            shown = self.settings.with_uri(part.uri).shown
            reason = f"{shown} is damaged or incomplete: {what}, but it should last {part.duration_s:.1f} s"
            self.faults.append(Fault(part.offset_s + end_s, part.offset_s + part.duration_s, reason))

"""Frame sources: cameras, streams, video files and images. ``make_source`` creates the one for given settings."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2

from app.capture.geometry import corrected
from app.capture.image_folder import ImageSource
from app.capture.opencv_backend import (
    PLAYLIST_SUFFIXES,
    Opener,
    VideoReader,
    check_file,
    open_camera,
    open_file,
    open_http_stream,
    open_stream,
    to_bgr,
)
from app.capture.paced_reader import PacedReader
from app.capture.pyav_backend import PyavReader
from app.capture.stream_time import Hold, LiveTimes, recorded_times
from app.core.errors import SourceError
from app.core.resources import asset
from app.core.types import Frame, Image
from app.settings.source import SourceKind, SourceSettings

_log = logging.getLogger(__name__)

FALLBACK_FPS = 25.0
_MAX_FPS = 250.0
"""A higher value is not a frame rate but the time base: 1000 in Matroska with a variable rate, 90000 in MPEG."""
_ATTEMPTS = 10
"""Failed reads in a row after which a source has ended; a damaged packet causes only one."""
_TEXT_PROBE_BYTES = 1024


class FrameSource(Protocol):
    """A source of frames. ``frames`` opens the source at the first ``next()``, releases it when it ends or is closed,
    and can be called again. A live source ends only with ``SourceError`` or after ``stop``."""

    @property
    def name(self) -> str: ...

    @property
    def is_live(self) -> bool: ...

    @property
    def fps(self) -> float | None:
        """Nominal frame rate; None if it is unknown."""

    @property
    def frame_count(self) -> int | None:
        """Expected number of frames of a file; None for live sources or if it is unknown."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]: ...

    def apply(self, settings: SourceSettings) -> None:
        """Uses ``rotate``, ``flip`` and ``aspect_ratio`` of ``settings`` from the next frame on."""


def make_source(settings: SourceSettings) -> FrameSource:
    """Create the source for ``settings`` without opening it."""
    match settings.kind:
        case SourceKind.CAMERA:
            return LiveSource(settings, open_camera)
        case SourceKind.STREAM if settings.is_http and settings.backend != "gstreamer":
            return HttpSource(settings)
        case SourceKind.STREAM:
            return LiveSource(settings, open_stream)
        case SourceKind.IMAGES:
            return ImageSource(settings)
        case SourceKind.DEMO:
            return FileSource(settings.with_uri(str(asset("demo.mp4"))))
        case SourceKind.FILE:
            return FileSource(settings)


class LiveSource:
    """A camera or a stream. Stream time starts with the first connection and continues over later ones."""

    is_live = True
    frame_count = None

    def __init__(self, settings: SourceSettings, opener: Opener) -> None:
        self.name = settings.name
        self.fps = settings.fps
        self._settings = settings
        self._open = opener
        self._start_s: float | None = None
        self._time_s = -math.inf
        self._index = 0
        self.waiting = ""
        """What the source waits for while packets arrive, but no frame; '' otherwise."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError if the source cannot be opened or is lost."""
        if self._start_s is None:
            self._start_s = time.monotonic()
        self.waiting = ""
        with released(self._open(self._settings)) as reader:
            if self.fps is None:
                self.fps = _plausible_fps(reader)
            first = True
            times = LiveTimes(self._time_s, _step_s(reader), _stamp_fault(reader, self._settings))
            hold = Hold(self._settings.is_segmented)
            fault = times.fault
            while not stop.is_set():
                image = self._next_image(reader, stop, first)
                if image is None:
                    return  # stopped
                first, self.waiting = False, ""
                arrival_s = time.monotonic() - self._start_s
                self._time_s = times.next(_stamp_s(reader), arrival_s)
                if times.fault != fault:
                    fault = times.fault
                    # The drivers of many webcams give no stamps, which is no fault.
                    level = logging.WARNING if self._settings.kind is SourceKind.STREAM else logging.DEBUG
                    _log.log(level, "%s: its time stamps %s; the times of arrival are used instead", self.name, fault)
                if not fault:
                    stop.wait(hold.wait_s(self._time_s, arrival_s))
                self._index += 1
                yield Frame(image, self._index - 1, self._time_s, time.monotonic(), time.time(), self.name)

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings.with_uri(self._settings.uri)

    def _next_image(self, reader: VideoReader, stop: threading.Event, first: bool) -> Image | None:
        """The next usable image; None if stopped. Raises SourceError if none arrives within the time limit, which is
        longer for the ``first`` image: packets arrive, but a stream can be decoded only from a key frame on."""
        start_s = time.monotonic()
        end_s = start_s + self._settings.silence_s
        failed = 0
        while not stop.is_set():
            image, ok = decode_image(reader, self._settings)
            now_s = time.monotonic()
            if first and ok and image is None and now_s >= end_s and isinstance(reader, PyavReader | PacedReader):
                self.waiting = "waiting for a key frame; set a shorter key frame (I-frame) interval in the camera"
                end_s = start_s + self._settings.key_frame_timeout_s
            late = now_s >= end_s  # after its time limit, FFmpeg still returns an old image
            if image is not None and not late:
                return image
            failed += not ok  # an empty image is a short fault, a failed read may be the end
            if failed >= _ATTEMPTS or late:
                raise SourceError(f"lost {self._settings.shown}: {self._loss_reason(late)}; check camera and network")
            stop.wait(0.01)  # some drivers fail immediately, so this loop would be busy
        return None

    def _loss_reason(self, late: bool) -> str:
        if late and self.waiting:
            return f"packets arrive, but no key frame within {self._settings.key_frame_timeout_s:g} s"
        return f"no frame for {self._settings.silence_s:g} s" if late else "it ended or was interrupted"


class HttpSource:
    """An http(s) address. Only the server's answer shows whether it is a live stream or a video; until then it counts
    as live."""

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.name
        self.fps: float | None = None
        self.frame_count: int | None = None
        self._settings = settings
        self._opened: list[VideoReader] = []  # at most one
        self._live = LiveSource(settings, self._take)
        self._video: FileSource | None = None
        self._paced: PacedReader | None = None
        self._has_ended = False

    @property
    def is_live(self) -> bool:
        return self._video is None and not self._has_ended

    @property
    def waiting(self) -> str:
        return self._live.waiting

    def _begins_again(self, reader: VideoReader) -> bool:
        """Whether the last connection was a video of unknown length, and this one shows the same first image."""
        last, self._paced = self._paced, reader if isinstance(reader, PacedReader) else None
        if last is None or self._paced is None or not last.is_like_video:
            return False
        end_s = time.monotonic() + self._settings.read_timeout_s
        while self._paced.first_image is None and time.monotonic() < end_s:
            if not self._paced.peek():
                return False
        return self._paced.first_image == last.first_image

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings.with_uri(self._settings.uri)
        self._live.apply(settings)
        if self._video is not None:
            self._video.apply(settings)

    def _take(self, settings: SourceSettings) -> VideoReader:
        return self._opened.pop() if self._opened else open_http_stream(settings).reader

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError if the source cannot be opened or is lost, or if a video ends too early."""
        if self._video is None and not stop.is_set():
            stream = open_http_stream(self._settings)
            with released_on_error(stream.reader):
                self._has_ended = self._begins_again(stream.reader)
            if self._has_ended:
                stream.reader.release()
                return
            self._opened, self.fps = [stream.reader], _plausible_fps(stream.reader)
            if not stream.is_live:
                self.frame_count = _plausible_count(stream.reader)
                self._video = FileSource(self._settings, self._take)
        try:
            yield from (self._video or self._live).frames(stop)
        finally:
            while self._opened:  # stopped before it was used
                self._opened.pop().release()


class FileSource:
    """A video file: all frames with their time stamps."""

    is_live = False

    def __init__(self, settings: SourceSettings, opener: Opener = open_file) -> None:
        self.name = settings.name
        self._settings = settings
        self._open = opener
        self._fps_and_count: tuple[float | None, int | None] | None = None

    @property
    def fps(self) -> float | None:
        return self._probe()[0]

    @property
    def frame_count(self) -> int | None:
        return self._probe()[1]

    def _probe(self) -> tuple[float | None, int | None]:
        if self._fps_and_count is None:
            try:
                with released(self._opened()) as reader:
                    self._fps_and_count = _plausible_fps(reader), _plausible_count(reader)
            except SourceError:
                return None, None  # ``frames`` reports the error
        return self._fps_and_count

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError if the file is not a video, contains no frame, or ends too early."""
        index, offset_s = 0, 0.0
        while not stop.is_set():
            last_s = -1.0
            for image, time_s in self._play(stop):
                last_s = offset_s + time_s
                yield Frame(image, index, last_s, time.monotonic(), time.time(), self.name)
                index += 1
            if not self._settings.loop:
                return
            offset_s = last_s + 1.0 / (self.fps or FALLBACK_FPS)

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings.with_uri(self._settings.uri)

    def _play(self, stop: threading.Event) -> Iterator[tuple[Image, float]]:
        with released(self._opened()) as reader:
            self._fps_and_count = fps, _ = _plausible_fps(reader), _plausible_count(reader)
            step_s = 1.0 / (fps or FALLBACK_FPS)
            yield from recorded_times(self._stamped_images(reader, step_s, stop), step_s)

    def _stamped_images(
        self, reader: VideoReader, step_s: float, stop: threading.Event
    ) -> Iterator[tuple[Image, float | None]]:
        """All images with their stamps. Raises SourceError if there are too few."""
        end_s, played, failed = -step_s, 0, 0
        while not stop.is_set() and failed < _ATTEMPTS:
            image, ok = decode_image(reader, self._settings)
            if image is None:
                failed += not ok
                continue
            stamp_s = _stamp_s(reader)
            end_s = max(end_s + step_s, stamp_s or 0.0)
            failed, played = 0, played + 1
            yield image, stamp_s
        if not stop.is_set():
            self._check_end(played, end_s, self.frame_count, step_s)

    def _check_end(self, played: int, end_s: float, count: int | None, step_s: float) -> None:
        if played == 0:
            raise SourceError(
                f"{self._settings.shown} contains no frame that can be decoded; check whether it is a video"
            )
        # Some containers only estimate the count, so only a large difference in count and time is an error.
        if count and played < 0.9 * count - 1 and end_s < 0.9 * count * step_s - 1.0:
            raise SourceError(
                f"{self._settings.shown} is damaged or incomplete: only {played} of {count} frames could be read; "
                + ("the connection was lost" if self._settings.kind is SourceKind.STREAM else "copy it again")
            )

    def _opened(self) -> VideoReader:
        if self._settings.kind is SourceKind.STREAM:
            return self._open(self._settings)
        path = Path(self._settings.uri)
        check_file(path, "video")
        try:
            with path.open("rb") as file:
                head = file.read(_TEXT_PROBE_BYTES)
        except OSError as error:
            raise SourceError(f"cannot read video {path}: {error.strerror}; check its permissions") from error
        if path.suffix.lower() in PLAYLIST_SUFFIXES and _is_text(head):
            if b"#EXT-X-" not in head:
                raise SourceError(f"{path} is a list of addresses, not a video; give one of them as the source")
        # FFmpeg would play any text file as a video of a terminal.
        elif _is_text(head):
            raise SourceError(f"{path} is text, not a video; give a video, an image, a folder or a stream")
        return self._open(self._settings)


@contextmanager
def released_on_error(reader: VideoReader) -> Iterator[None]:
    """Releases ``reader`` if the block raises."""
    try:
        yield
    except BaseException:
        reader.release()
        raise


@contextmanager
def released(reader: VideoReader) -> Iterator[VideoReader]:
    """Context manager that releases ``reader`` at the end, as ``contextlib.closing`` does."""
    try:
        yield reader
    finally:
        reader.release()


def decode_image(reader: VideoReader, settings: SourceSettings) -> tuple[Image | None, bool]:
    """(image or None, whether the read succeeded). Raises SourceError if OpenCV raises an error."""
    try:
        ok, image = reader.read()
        if not ok or image is None:
            return None, False
        if image.size == 0 or image.ndim < 2:
            return None, True
        return corrected(to_bgr(image), settings, _pixel_aspect(reader)), True
    except (cv2.error, ValueError) as error:
        raise SourceError(f"cannot decode {settings.shown}: {str(error).splitlines()[0]}") from error


def _pixel_aspect(reader: VideoReader) -> float:
    """Width of a pixel divided by its height; 1 if it is unknown."""
    width, height = reader.get(cv2.CAP_PROP_SAR_NUM), reader.get(cv2.CAP_PROP_SAR_DEN)
    return width / height if width > 0 and height > 0 else 1.0


def _stamp_s(reader: VideoReader) -> float | None:
    """The time stamp (s) of the last read image; None if it is not valid."""
    stamp_s = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    return stamp_s if math.isfinite(stamp_s) and stamp_s >= 0 else None


def _stamp_fault(reader: VideoReader, settings: SourceSettings) -> str:
    """Why the stamps of a stream are not used; empty if they may be."""
    codec = int(reader.get(cv2.CAP_PROP_FOURCC))
    is_motion_jpeg = codec == cv2.VideoWriter.fourcc(*"MJPG")
    # Motion JPEG over HTTP has no stamps: FFmpeg counts 25 images a second, whatever the camera sends.
    return "are invented" if is_motion_jpeg and settings.uri.lower().startswith("http") else ""


def _step_s(reader: VideoReader) -> float | None:
    fps = _plausible_fps(reader)
    return None if fps is None else 1.0 / fps


def _plausible_fps(reader: VideoReader) -> float | None:
    fps = reader.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else None


def _plausible_count(reader: VideoReader) -> int | None:
    """The frame count; None without a frame rate, because OpenCV estimates the count from it."""
    count = reader.get(cv2.CAP_PROP_FRAME_COUNT)
    is_plausible = _plausible_fps(reader) is not None and math.isfinite(count) and 0 < count < 1e9
    return int(count) if is_plausible else None


def _is_text(head: bytes) -> bool:
    if any(byte < 9 for byte in head):
        return False
    try:
        head[:-4].decode("utf-8")  # the last character may be incomplete
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 8 and len(head) > 16
    return True

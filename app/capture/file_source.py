"""Video files as a source."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from app.capture.opencv_backend import PLAYLIST_SUFFIXES, Opener, VideoReader, check_file, open_file
from app.capture.pyav_backend import PyavReader
from app.capture.reader import (
    ATTEMPTS,
    FALLBACK_FPS,
    decode_image,
    image_stamp_s,
    plausible_count,
    plausible_fps,
    released,
)
from app.capture.recording import video_start
from app.capture.stream_time import recorded_times
from app.core.errors import SourceError
from app.core.types import Frame, Image
from app.settings.source import SourceSettings
from app.settings.source_uri import SourceKind

_TEXT_PROBE_BYTES = 1024


class FileSource:
    """A video file: all frames with their time stamps."""

    is_live = False

    def __init__(self, settings: SourceSettings, opener: Opener = open_file, is_demo: bool = False) -> None:
        self.name = settings.name
        self._settings = settings
        self._is_demo = is_demo
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
                    self._fps_and_count = plausible_fps(reader), plausible_count(reader)
            except SourceError:
                return None, None  # ``frames`` reports the error
        return self._fps_and_count

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Raises SourceError if the file is not a video, contains no frame, or ends too early."""
        index, offset_s = 0, 0.0
        start_s = self._start_s()
        while not stop.is_set():
            last_s = -1.0
            for image, time_s in self._play(stop):
                last_s = offset_s + time_s
                wall_s = time.time() if start_s is None else start_s + last_s
                yield Frame(image, index, last_s, time.monotonic(), wall_s, self.name)
                index += 1
            if not self._settings.loop:
                return
            offset_s = last_s + 1.0 / (self.fps or FALLBACK_FPS)

    def _start_s(self) -> float | None:
        """When the video was begun; None if it is shown as if it were live: the demo and videos of servers."""
        settings = self._settings
        if settings.starts_at is None and (self._is_demo or settings.kind is not SourceKind.FILE):
            return None
        self.check()
        return video_start(settings, Path(settings.uri)).wall_s

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings.with_uri(self._settings.uri)

    def _play(self, stop: threading.Event) -> Iterator[tuple[Image, float]]:
        with released(self._opened()) as reader:
            self._fps_and_count = fps, _ = plausible_fps(reader), plausible_count(reader)
            step_s = 1.0 / (fps or FALLBACK_FPS)
            settings = self._settings
            if not settings.is_sampled:
                yield from recorded_times(self._stamped_images(reader, step_s, stop), step_s)
                return
            if not isinstance(reader, PyavReader):
                raise SourceError(
                    f"{settings.shown} cannot be read in part; omit --every, --key-frames, --from and --to"
                )
            reader.select(settings.every_s, settings.key_frames, settings.from_s)
            time_s = settings.from_s - step_s
            for image, stamp_s in self._stamped_images(reader, step_s, stop):
                if stamp_s is None or stamp_s > time_s:
                    time_s = time_s + step_s if stamp_s is None else stamp_s
                    yield image, time_s

    def _stamped_images(
        self, reader: VideoReader, step_s: float, stop: threading.Event
    ) -> Iterator[tuple[Image, float | None]]:
        """All images with their stamps. Raises SourceError if there are too few."""
        end_s, played, failed = -step_s, 0, 0
        while not stop.is_set() and failed < ATTEMPTS:
            image, ok = decode_image(reader, self._settings)
            if image is None:
                failed += not ok
                continue
            stamp_s = image_stamp_s(reader)
            if self._settings.to_s is not None and (end_s if stamp_s is None else stamp_s) >= self._settings.to_s:
                return
            end_s = max(end_s + step_s, stamp_s or 0.0)
            failed, played = 0, played + 1
            yield image, stamp_s
        if not stop.is_set():
            end_s += self._settings.every_s  # the last selected frame may be so long before the end
            if self._settings.key_frames and isinstance(reader, PyavReader):
                end_s = max(end_s, reader.reached_s)
            self._check_end(played, end_s, self.frame_count, step_s)

    def _check_end(self, played: int, end_s: float, count: int | None, step_s: float) -> None:
        if played == 0 and self._settings.from_s > 0:
            raise SourceError(
                f"{self._settings.shown} contains no frame from {self._settings.from_s:g} s on that can be decoded; "
                "check whether it is that long, and --from"
            )
        if played == 0:
            raise SourceError(
                f"{self._settings.shown} contains no frame that can be decoded; check whether it is a video"
            )
        # Some containers only estimate the count, so only a large difference in count and time is an error.
        is_short = self._settings.is_sampled or played < 0.9 * (count or 0) - 1
        if count and is_short and end_s < 0.9 * count * step_s - 1.0:
            raise SourceError(
                f"{self._settings.shown} is damaged or incomplete: only {played} of {count} frames could be read; "
                + ("the connection was lost" if self._settings.kind is SourceKind.STREAM else "copy it again")
            )

    def _opened(self) -> VideoReader:
        if self._settings.kind is not SourceKind.STREAM:
            self.check()
        return self._open(self._settings)

    def check(self) -> None:
        """Raises SourceError if the file cannot be a video."""
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


def _is_text(head: bytes) -> bool:
    if any(byte < 9 for byte in head):
        return False
    try:
        head[:-4].decode("utf-8")  # the last character may be incomplete
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 8 and len(head) > 16
    return True

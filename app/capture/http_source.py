"""An http(s) address as a source: a live stream or a video."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

from app.capture.file_source import FileSource
from app.capture.live_source import LiveSource, Throttle
from app.capture.opencv_backend import VideoReader, open_http_stream
from app.capture.paced_reader import PacedReader
from app.capture.reader import plausible_count, plausible_fps
from app.core.types import Frame
from app.settings.source import SourceSettings


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

    @property
    def throttle(self) -> Throttle:
        return self._live.throttle

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
            with ExitStack() as stack:
                stack.callback(stream.reader.release)
                self._has_ended = self._begins_again(stream.reader)
                if self._has_ended or stop.is_set():
                    return
                stack.pop_all()
            self._opened, self.fps = [stream.reader], plausible_fps(stream.reader)
            if not stream.is_live:
                self.frame_count = plausible_count(stream.reader)
                self._video = FileSource(self._settings, self._take)
        try:
            yield from (self._video or self._live).frames(stop)
        finally:
            while self._opened:  # stopped before it was used
                self._opened.pop().release()

"""The videos of a folder as one source, for example the recordings of a camera."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

from app.capture.file_source import FileSource
from app.capture.reader import FALLBACK_FPS
from app.capture.recording import video_files, video_start
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

_log = logging.getLogger(__name__)


class VideoFolderSource:
    """All videos below a folder, in the order of their start. One that cannot be read is logged and left out."""

    is_live = False

    def __init__(self, settings: SourceSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._playing: FileSource | None = None
        self._fps_and_count: tuple[float | None, int] | None = None

    @property
    def fps(self) -> float | None:
        """The highest of its videos."""
        return self._probe()[0]

    @property
    def frame_count(self) -> int | None:
        return self._probe()[1] or None

    def _probe(self) -> tuple[float | None, int]:
        if self._fps_and_count is None:
            try:
                videos = [self._video(path) for path in video_files(Path(self._settings.uri))]
            except SourceError:
                return None, 0  # ``frames`` reports the error
            fps = max((video.fps or 0.0 for video in videos), default=0.0)
            self._fps_and_count = fps or None, sum(video.frame_count or 0 for video in videos)
        return self._fps_and_count

    def _video(self, path: Path) -> FileSource:
        return FileSource(self._settings.model_copy(update={"uri": str(path), "loop": False}))

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """The stream time goes on from video to video as their starts say. Raises SourceError if no video can be
        read, and SettingsError if a name does not match the pattern."""
        paths = video_files(Path(self._settings.uri), partial(_log.warning, "left out: %s %s"))
        starts = sorted((video_start(self._settings.with_uri(str(path)), path).wall_s, path) for path in paths)
        index, last_s, errors = 0, -inf, list[SourceError]()
        while not stop.is_set():
            first_s = last_s + 1.0 / FALLBACK_FPS if index else 0.0
            for start_s, path in starts:
                offset_s = max(first_s + start_s - starts[0][0], last_s + 1.0 / FALLBACK_FPS)
                self._playing = self._video(path)
                try:
                    for frame in self._playing.frames(stop):
                        last_s = offset_s + frame.time_s
                        # starts_at is the start of the first video only
                        wall_s = frame.wall_s if self._settings.starts_at is None else starts[0][0] + last_s
                        yield replace(frame, index=index, time_s=last_s, wall_s=wall_s)
                        index += 1
                except SourceError as error:
                    _log.warning("left out: %s", error)
                    errors.append(error)
            if not index and errors:
                raise errors[0]
            if not self._settings.loop:
                return

    def apply(self, settings: SourceSettings) -> None:
        self._settings = settings.with_uri(self._settings.uri)
        if self._playing is not None:
            self._playing.apply(settings)

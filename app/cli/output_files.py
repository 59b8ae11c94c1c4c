"""The files that ``watch`` writes because of its flags: the annotated video and the events."""

import logging
from collections.abc import Sequence
from pathlib import Path

from app.alerts.event_records import EventLog, check_event_log
from app.capture.reader import FALLBACK_FPS
from app.capture.recorder import VideoWriter, check_output
from app.core.errors import OutputError, SettingsError
from app.core.files import inodes
from app.core.types import Event, FrameResult
from app.pipeline.monitor import Monitor
from app.settings.monitor import CameraSettings
from app.settings.polygons import Polygon
from app.settings.source_uri import SourceKind
from app.settings.view import ViewSettings

log = logging.getLogger(__name__)

_LIVE_VIDEO_FPS = 15.0


class OutputFiles:
    """A video begins with its first frame, the events with the first frame or event: a source that cannot be opened
    leaves no file."""

    def __init__(self, cameras: Sequence[CameraSettings], video: Path | None, events: Path | None) -> None:
        """Raises OutputError or SettingsError if a file cannot be written, or is one of the sources."""
        if video is not None and len(cameras) > 1:
            raise SettingsError("--output records one source; give one --source, or omit --output")
        if events is not None:
            check_event_log(events)
        for path, what in ((video, "video"), (events, "events")):
            if path is None:
                continue
            check_output(path, what)
            for camera in cameras:
                if camera.kind is SourceKind.FILE and inodes([path]) & inodes([Path(camera.uri)]):
                    raise OutputError(f"cannot write {what} {path}: it is the source; choose another name")
        self._is_folder = cameras[0].kind is SourceKind.IMAGES
        self._video_path, self._events_path = video, events
        self._video: VideoWriter | None = None
        self._event_log: EventLog | None = None
        self._events_failed = False
        self.has_failed = False
        """A fault does not always end the run, but changes the exit code."""

    @property
    def records_video(self) -> bool:
        return self._video_path is not None

    def write_video(
        self, result: FrameResult, monitor: Monitor, view: ViewSettings, regions: Sequence[Polygon]
    ) -> None:
        """Raises OutputError if the video of a file cannot be written; a live source continues without a video."""
        from app.ui.hud import render_result

        assert self._video_path is not None
        source, shown = monitor.sources[0], monitor.views()[0]
        image = render_result(result, view.blur, view.verbose, shown, regions)
        try:
            if self._video is None:
                fps = source.fps or (_LIVE_VIDEO_FPS if source.is_live else FALLBACK_FPS)
                size = image.shape[1], image.shape[0]
                self._video = VideoWriter(self._video_path, fps, size, is_live=source.is_live)
            self._video.write(image, None if self._is_folder else result.frame.time_s)
        except OutputError as error:
            if not source.is_live:
                raise
            log.error("%s; watching continues without a video", error)
            self._video_path, self.has_failed = None, True

    def open_events(self) -> None:
        """Raises OutputError if the file cannot be created."""
        if self._event_log is None and self._events_path is not None:
            self._event_log = EventLog(self._events_path)

    def write_event(self, event: Event) -> None:
        """Raises OutputError if the file cannot be created. A disk that is full later does not end the run."""
        self.open_events()
        try:
            if self._event_log is not None:
                self._event_log.write(event)
        except OutputError as error:
            if not self._events_failed:
                log.error("%s", error)
            self._events_failed = self.has_failed = True

    def close(self) -> None:
        """Raises OutputError if a file cannot be completed."""
        try:
            if self._event_log is not None:
                self._event_log.close()
        finally:
            if self._video is not None:
                self._video.close()

    def written(self) -> list[Path]:
        """A video without frames is never created."""
        video = self._video.path if self._video is not None and self._video.frames else None
        events = self._events_path if self._event_log is not None else None
        return [path for path in (video, events) if path is not None]

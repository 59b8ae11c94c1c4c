"""Frame sources: cameras, streams, video files and images. ``make_source`` creates the one for given settings."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from app.capture.file_source import FileSource
from app.capture.image_folder import ImageSource, list_images
from app.capture.live_source import LiveSource
from app.capture.opencv_backend import check_file, open_camera, open_stream
from app.capture.recording import video_files
from app.capture.video_folder import VideoFolderSource
from app.core.errors import SourceError
from app.core.files import is_folder
from app.core.resources import asset
from app.core.types import Frame
from app.settings.source import SourceSettings
from app.settings.source_uri import SourceKind


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
        """Uses ``rotate``, ``flip``, ``aspect_ratio`` and ``blackout`` of ``settings`` from the next frame on."""


def make_source(settings: SourceSettings) -> FrameSource:
    """Create the source for ``settings`` without opening it."""
    match settings.kind:
        case SourceKind.CAMERA:
            return LiveSource(settings, open_camera)
        case SourceKind.STREAM if settings.is_http and settings.backend != "gstreamer":
            from app.capture.http_source import HttpSource  # imported late, because HTTP takes long to import

            return HttpSource(settings)
        case SourceKind.STREAM:
            return LiveSource(settings, open_stream)
        case SourceKind.IMAGES:
            return VideoFolderSource(settings) if _has_only_videos(settings.uri) else ImageSource(settings)
        case SourceKind.DEMO:
            return FileSource(settings.with_uri(str(asset("demo.mp4"))), is_demo=True)
        case SourceKind.FILE:
            return FileSource(settings)


def check_path(settings: SourceSettings) -> None:
    """Raises SourceError if the video, image or folder of ``settings`` does not exist or cannot be one. Whatever else
    they name may appear later."""
    if settings.kind is SourceKind.FILE:
        FileSource(settings).check()
    elif settings.kind is SourceKind.IMAGES and not is_folder(path := Path(settings.uri)):
        check_file(path, "image")


def _has_only_videos(uri: str) -> bool:
    """Whether ``uri`` is a folder without images in it, but with videos in it or below it."""
    path = Path(uri)
    try:
        return is_folder(path) and not list_images(path) and bool(video_files(path))
    except SourceError:
        return False  # the source reports it when it is opened

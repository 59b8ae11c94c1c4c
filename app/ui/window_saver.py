"""Snapshots and recordings of what the window shows. Every method returns what to tell the user."""

import logging
import time
from pathlib import Path

from app.capture.recorder import VideoWriter, save_image
from app.core.errors import MaskwatchError, OutputError
from app.core.files import exists
from app.core.types import Image

log = logging.getLogger(__name__)

_FPS = 10.0, 25.0
"""Limits of the frame rate of a recording, which follows the redraw rate of the window."""


class WindowSaver:
    """Saves into ``folder``, which is made when it is needed, under names with the time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recording: VideoWriter | None = None
        self._since_s = 0.0

    @property
    def is_recording(self) -> bool:
        return self._recording is not None

    def recorded_s(self, now_s: float) -> int | None:
        """The length of the running recording in whole seconds; None without one. ``now_s``: of the monotonic clock."""
        return None if self._recording is None else int(now_s - self._since_s)

    def snapshot(self, image: Image) -> str:
        try:
            path = self._new_path(".png")
            save_image(image, path)
        except (OutputError, OSError) as error:
            return f"cannot save snapshot: {_reason(error)}"
        return f"saved {path.name}"

    def toggle(self, image: Image, fps: float) -> str:
        """Starts a recording of images like ``image``, or ends the running one."""
        if self._recording is not None:
            return self.stop()
        try:
            path, (least, most) = self._new_path(".mp4"), _FPS
            size_px = image.shape[1], image.shape[0]
            self._recording = VideoWriter(path, min(max(fps or most, least), most), size_px, is_live=True)
        except (OutputError, OSError) as error:
            return f"cannot record: {_reason(error)}"
        self._since_s = time.monotonic()
        return f"recording {path.name}"

    def write(self, image: Image, now_s: float) -> str:
        """Writes one frame if there is a recording. Returns why it was ended, if so."""
        if self._recording is None:
            return ""
        try:
            self._recording.write(image, now_s)
        except OutputError as error:
            self.stop()
            log.error("%s", error)
            return str(error)
        return ""

    def stop(self) -> str:
        if self._recording is None:
            return ""
        recording, self._recording = self._recording, None
        try:
            recording.close()
        except MaskwatchError as error:
            log.error("%s", error)
            return str(error)
        return "recording saved"

    def _new_path(self, suffix: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = time.strftime("maskwatch-%Y%m%d-%H%M%S")
        path, serial = self._folder / f"{stem}{suffix}", 1
        while exists(path):
            serial += 1
            path = path.with_name(f"{stem}-{serial}{suffix}")
        return path


def _reason(error: OutputError | OSError) -> str:
    """Without the number of the error."""
    if isinstance(error, OutputError):
        return str(error)
    return f"{error.filename or 'file'}: {error.strerror or error}; choose another --snapshots"

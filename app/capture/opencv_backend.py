"""OpenCV's readers behind one small interface: time limits, backends, silence on stderr, pictures as BGR uint8."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from app.capture.stream_probe import probe_stream
from app.core.errors import SourceError
from app.core.types import Image
from app.settings.source import SourceKind, SourceSettings

_BACKENDS = {
    "any": cv2.CAP_ANY,
    "v4l2": cv2.CAP_V4L2,
    "dshow": cv2.CAP_DSHOW,
    "avfoundation": cv2.CAP_AVFOUNDATION,
    "ffmpeg": cv2.CAP_FFMPEG,
    "gstreamer": cv2.CAP_GSTREAMER,
}
_CAMERA_BACKENDS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


class VideoReader(Protocol):
    """What is used of ``cv2.VideoCapture``; tests put their own in its place."""

    def read(self) -> tuple[bool, NDArray[Any] | None]: ...

    def get(self, propId: int) -> float: ...  # noqa: N803 - OpenCV's name

    def release(self) -> None: ...


Opener = Callable[[SourceSettings], VideoReader]


def silence_ffmpeg(read_timeout_s: float | None = None) -> None:
    """Keep the libraries' own chatter off the console: bad input shall print one line, ours.

    FFmpeg's level is read once, when OpenCV opens its first capture, so this runs before each. The user's own
    setting of these variables wins. V4L2 has no time limit of its own but by its variable, in whole seconds.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if read_timeout_s is not None:
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(1, round(read_timeout_s))))
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def to_bgr(picture: NDArray[Any]) -> Image:
    """(H, W, 3) uint8 BGR of any decoded picture: grey, with alpha, 16 bits or floating point in [0, 1]."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    elif picture.dtype != np.uint8:
        picture = (np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)
    if picture.ndim == 2 or picture.shape[2] == 1:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    if picture.shape[2] == 4:
        return cv2.cvtColor(picture, cv2.COLOR_BGRA2BGR)  # type: ignore[return-value]
    if picture.shape[2] != 3:
        raise ValueError(f"a picture of {picture.shape[2]} channels")
    return picture


def open_camera(settings: SourceSettings) -> VideoReader:
    """A camera by number or device path. Raises SourceError."""
    silence_ffmpeg(settings.read_timeout_s)
    uri = settings.uri
    device = Path(f"/dev/video{int(uri)}" if uri.isdigit() else uri)
    if sys.platform.startswith("linux"):
        if not device.exists():
            raise SourceError(
                f"cannot open camera {uri}: no such device ({device}); try another number or 'maskwatch doctor'"
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(f"cannot open camera {uri}: no right to use {device}; join the group 'video'")
    chosen = settings.backend
    if chosen == "auto":
        chosen = _CAMERA_BACKENDS.get("linux" if sys.platform.startswith("linux") else sys.platform, "any")  # type: ignore[assignment]
    target = int(uri) if uri.isdigit() else uri
    capture = _open(target, chosen, [], f"camera {uri}", settings)
    wanted = (
        (cv2.CAP_PROP_FRAME_WIDTH, settings.width_px),
        (cv2.CAP_PROP_FRAME_HEIGHT, settings.height_px),
        (cv2.CAP_PROP_FPS, settings.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),  # an old picture is worth nothing
    )
    for what, value in wanted:
        if value is not None:
            capture.set(what, value)  # a wish: cameras may refuse it
    return capture


def open_stream(settings: SourceSettings) -> VideoReader:
    """A network stream. Raises SourceError; open and each read end within their time limits."""
    silence_ffmpeg()
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(settings.open_timeout_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(settings.read_timeout_s * 1000),
        cv2.CAP_PROP_N_THREADS,
        settings.decoder_threads,
    ]
    chosen = "ffmpeg" if settings.backend == "auto" else settings.backend
    if chosen != "ffmpeg":
        limits = []  # other backends refuse to open when given a setting they do not know
    with _STREAM_OPTIONS.using(settings.rtsp_transport, settings.open_timeout_s):
        return _open(settings.connect_uri(), chosen, limits, f"stream {settings.shown}", settings)


class _StreamOptions:
    """FFmpeg's options reach OpenCV's reader by one environment variable alone, for the whole process. So openings
    that want the same run side by side, one that wants others waits for them, and the last one puts it back."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._opening = 0
        self._transport = ""
        self._before: str | None = None

    @contextmanager
    def using(self, transport: str, limit_s: float) -> Iterator[None]:
        """Raises SourceError where its turn does not come within ``limit_s``."""
        with self._free:
            if not self._free.wait_for(lambda: not self._opening or self._transport == transport, limit_s):
                raise SourceError("cameras with another rtsp_transport are still being opened; trying again")
            if not self._opening:
                self._transport, self._before = transport, os.environ.get(_OPTIONS)
                os.environ[_OPTIONS] = _options(transport, self._before or "")
            self._opening += 1
        try:
            yield
        finally:
            with self._free:
                self._opening -= 1
                if not self._opening:
                    if self._before is None:
                        del os.environ[_OPTIONS]
                    else:
                        os.environ[_OPTIONS] = self._before
                self._free.notify_all()


def _options(transport: str, users: str) -> str:
    """FFmpeg options in OpenCV's form, ``key;value|key;value``; the user's own come first, and first wins.

    Without ``fpsprobesize;0`` FFmpeg watches a stream for a second to learn its rate, which nobody here asks for
    (measured: 1.15 s to open, 0.33 s with it).
    """
    ours = {"rtsp_transport": transport, "fpsprobesize": "0"}
    given = {option.partition(";")[0] for option in users.split("|")}
    return "|".join(filter(None, [users, *(f"{key};{value}" for key, value in ours.items() if key not in given)]))


_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_STREAM_OPTIONS = _StreamOptions()  # guards the process's environment, so there can be but one


def open_file(settings: SourceSettings) -> VideoReader:
    """A video file that is known to exist. Raises SourceError."""
    silence_ffmpeg()
    chosen = "ffmpeg" if settings.backend == "auto" else settings.backend
    path = str(Path(settings.uri).absolute())  # FFmpeg takes the 12: of 12:30.mp4 for a protocol
    return _open(path, chosen, [], f"video {settings.shown}", settings)


def _open(
    target: int | str, backend: str, parameters: list[int], what: str, settings: SourceSettings
) -> cv2.VideoCapture:
    try:
        capture = cv2.VideoCapture(target, _BACKENDS[backend], parameters)
    except cv2.error as error:
        raise SourceError(f"cannot open {what}: {settings.hide(str(error)).splitlines()[0]}") from None
    if capture.isOpened():
        return capture
    capture.release()
    raise SourceError(f"cannot open {what}: {_next_step(settings, backend)}")


def _next_step(settings: SourceSettings, backend: str) -> str:
    if settings.kind is SourceKind.CAMERA:
        return f"it is in use, or no camera for {backend}; close other programs or try 'maskwatch doctor'"
    if settings.kind is SourceKind.STREAM:
        return probe_stream(settings)
    return "not a video that can be read; try to play it in another program"

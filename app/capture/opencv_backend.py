"""OpenCV's video readers: time limits, backends, no output on standard error, images as BGR uint8."""

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
    """The methods of ``cv2.VideoCapture`` that are used; tests replace it."""

    def read(self) -> tuple[bool, NDArray[Any] | None]: ...

    def get(self, propId: int) -> float: ...  # noqa: N803 - OpenCV's name

    def release(self) -> None: ...


_SILENT = 0
"""OpenCV's log level LOG_LEVEL_SILENT."""

Opener = Callable[[SourceSettings], VideoReader]


def silence_ffmpeg(read_timeout_s: float | None = None) -> None:
    """Turn off the libraries' console output, so that invalid input prints only our error line.

    FFmpeg reads its level when OpenCV opens the first capture, so this runs before each. Variables that the user has
    set are kept. The time limit of V4L2 can only be set by its variable, in whole seconds.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if read_timeout_s is not None:
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(1, round(read_timeout_s))))
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4.10 to 4.12 have cv2.setLogLevel; later ones have cv2.utils.logging.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(_SILENT)


def to_bgr(image: NDArray[Any]) -> Image:
    """Convert a decoded image (grey, BGR or BGRA; 8 bits, 16 bits or float in [0, 1]) to (H, W, 3) uint8 BGR.

    Raises ValueError for other numbers of channels.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif image.dtype != np.uint8:
        image = (np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    if image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)  # type: ignore[return-value]
    if image.shape[2] != 3:
        raise ValueError(f"an image with {image.shape[2]} channels")
    return image


def open_camera(settings: SourceSettings) -> VideoReader:
    """Open a camera by number or device path. Raises SourceError."""
    silence_ffmpeg(settings.read_timeout_s)
    uri = settings.uri
    device = Path(f"/dev/video{int(uri)}" if uri.isdigit() else uri)
    if sys.platform.startswith("linux"):
        if not device.exists():
            raise SourceError(
                f"cannot open camera {uri}: no such device ({device}); try another number or 'maskwatch doctor'"
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(f"cannot open camera {uri}: no permission for {device}; join the group 'video'")
    chosen = settings.backend
    if chosen == "auto":
        chosen = _CAMERA_BACKENDS.get("linux" if sys.platform.startswith("linux") else sys.platform, "any")  # type: ignore[assignment]
    target = int(uri) if uri.isdigit() else uri
    capture = _open(target, chosen, [], f"camera {uri}", settings)
    requested = (
        (cv2.CAP_PROP_FRAME_WIDTH, settings.width_px),
        (cv2.CAP_PROP_FRAME_HEIGHT, settings.height_px),
        (cv2.CAP_PROP_FPS, settings.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),  # only the newest frame is useful
    )
    for property_id, value in requested:
        if value is not None:
            capture.set(property_id, value)  # cameras may ignore it
    return capture


def open_stream(settings: SourceSettings) -> VideoReader:
    """Open a network stream; opening and each read have a time limit. Raises SourceError."""
    silence_ffmpeg()
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(settings.open_timeout_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(settings.silence_s * 1000),
        cv2.CAP_PROP_N_THREADS,
        settings.decoder_threads,
    ]
    chosen = "ffmpeg" if settings.backend == "auto" else settings.backend
    if chosen != "ffmpeg":
        limits = []  # other backends fail to open with properties that they do not support
    with _STREAM_OPTIONS.using(settings.rtsp_transport, settings.open_timeout_s):
        return _open(settings.connect_uri(), chosen, limits, f"stream {settings.shown}", settings)


class _StreamOptions:
    """Sets FFmpeg's options for OpenCV, which reads them only from an environment variable of the process. Streams
    with equal options open in parallel, others wait; the last one restores the variable."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._opening = 0
        self._transport = ""
        self._before: str | None = None

    @contextmanager
    def using(self, transport: str, limit_s: float) -> Iterator[None]:
        """Raises SourceError if other options stay in use for ``limit_s``."""
        with self._free:
            if not self._free.wait_for(lambda: not self._opening or self._transport == transport, limit_s):
                raise SourceError("cameras with another rtsp_transport are still being opened; please wait")
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


def _options(transport: str, user_options: str) -> str:
    """FFmpeg options in OpenCV's format, ``key;value|key;value``; the options of the user have priority.

    ``fpsprobesize;0`` turns off FFmpeg's measurement of the frame rate, which is not used here (measured: the stream
    opens in 0.33 s instead of 1.15 s).
    """
    ours = {"rtsp_transport": transport, "fpsprobesize": "0"}
    given = {option.partition(";")[0] for option in user_options.split("|")}
    added = (f"{key};{value}" for key, value in ours.items() if key not in given)
    return "|".join(filter(None, [user_options, *added]))


_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_STREAM_OPTIONS = _StreamOptions()  # guards the environment of the process, so there is only one


def open_file(settings: SourceSettings) -> VideoReader:
    """Open an existing video file. Raises SourceError."""
    silence_ffmpeg()
    chosen = "ffmpeg" if settings.backend == "auto" else settings.backend
    path = str(Path(settings.uri).absolute())  # FFmpeg mistakes the 12: of 12:30.mp4 for a protocol
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
        return f"it is in use, or not a camera for {backend}; close other programs or try 'maskwatch doctor'"
    if settings.kind is SourceKind.STREAM:
        return probe_stream(settings)
    return "not a readable video; try to play it in another program"

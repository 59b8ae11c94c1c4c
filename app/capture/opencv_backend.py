"""OpenCV's video readers: time limits, backends, no output on standard error, images as BGR uint8."""

import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from app.capture.hardware_decoder import hardware_decoder
from app.capture.login import LOGINS
from app.capture.pyav_backend import NoVideoError, PyavReader
from app.core.errors import SourceError
from app.core.types import Image
from app.settings.source import SourceSettings
from app.settings.source_uri import SourceKind

if TYPE_CHECKING:
    from app.capture.http_file import HttpFile
    from app.capture.http_stream import HttpStream

_BACKENDS = {
    "any": cv2.CAP_ANY,
    "v4l2": cv2.CAP_V4L2,
    "dshow": cv2.CAP_DSHOW,
    "avfoundation": cv2.CAP_AVFOUNDATION,
    "ffmpeg": cv2.CAP_FFMPEG,  # of a camera: files and streams are read through PyAV
    "gstreamer": cv2.CAP_GSTREAMER,
}
_ANALYSIS_SHARE = 0.6
"""Without a key frame FFmpeg analyses a stream for 5 s by default, which is also our time limit of the opening."""
PLAYLIST_SUFFIXES = frozenset({".m3u8", ".m3u"})
_CAMERA_BACKENDS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


class VideoReader(Protocol):
    """The methods of ``cv2.VideoCapture`` that are used; tests replace it."""

    def read(self) -> tuple[bool, NDArray[Any] | None]: ...

    def grab(self) -> bool: ...

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


def check_file(path: Path, what: str) -> None:
    """Raises SourceError if ``path`` is not a file or is empty."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise SourceError(f"{path} is not a file; give a file, a folder of images or a stream")
        if status.st_size == 0:
            raise SourceError(f"{path} is empty; copy or record it again")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"no such {what}: {path}; check the path") from error
    except OSError as error:  # str(error) would repeat the path
        raise SourceError(f"cannot read {what} {path}: {error.strerror or error}; check the path") from error
    except ValueError as error:  # a NUL in the path
        raise SourceError(f"cannot read {what} {path}: {error}; check the path") from error


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
    # By number, because OpenCV reads a path with its FFmpeg, of which the executable has only a stub.
    number = re.fullmatch(r"(?:/dev/video)?([0-9]+)", uri)
    capture = _open(int(number[1]) if number else uri, chosen, [], f"camera {uri}", settings)
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
    what = f"stream {settings.shown}"
    if settings.backend == "gstreamer":
        silence_ffmpeg()
        return _open(settings.connect_uri(), settings.backend, [], what, settings)
    address = settings.connect_uri()
    if "://" not in address:  # a session description
        check_file(Path(address), "file")
        address = str(Path(address).absolute())
    with LOGINS.one_at_a_time(settings, urlsplit(settings.uri).netloc) if settings.username else nullcontext():
        return _open_with_limits(address, settings, {})


def open_http_stream(settings: SourceSettings) -> "HttpStream":
    """Open an http(s) address: a live stream, images that are polled, or a video. Raises SourceError."""
    from app.capture.http_stream import open_http  # imported late, because HTTP takes long to import

    return open_http(settings, lambda address, options: _open_with_limits(address, settings, options))


def _open_with_limits(address: "str | HttpFile", settings: SourceSettings, options: dict[str, str]) -> VideoReader:
    options = {**options, **stream_options(settings)}
    limits_s = settings.open_timeout_s, settings.silence_s
    what = f"stream {settings.shown}"
    return _open_with_ffmpeg(address, what, settings, options, limits_s, settings.decoder_threads)


def stream_options(settings: SourceSettings) -> dict[str, str]:
    """FFmpeg's options; those in OpenCV's variable (``key;value|key;value``) have priority.

    ``fpsprobesize`` 0 turns off FFmpeg's measurement of the frame rate, which is not used here (measured: the stream
    opens in 0.33 s instead of 1.15 s).
    """
    options = {"rtsp_transport": settings.rtsp_transport, "fpsprobesize": "0", **tls_options(settings)}
    options["analyzeduration"] = str(round(_ANALYSIS_SHARE * settings.open_timeout_s * 1e6))
    if "://" not in settings.uri:  # a session description; the addresses of many RTSP cameras also end in .sdp
        options["protocol_whitelist"] = "file,crypto,data,udp,rtp,srtp"
    given = os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")
    return options | dict(option.split(";", 1) for option in given.split("|") if ";" in option)


def tls_options(settings: SourceSettings) -> dict[str, str]:
    """FFmpeg's options for the certificates of https and rtsps."""
    options = {"tls_verify": "1" if settings.verifies_tls else "0"}
    if settings.tls_ca_file is not None:
        options["ca_file"] = str(Path(settings.tls_ca_file).absolute())
    return options


def open_file(settings: SourceSettings) -> VideoReader:
    """Open an existing video file. Raises SourceError."""
    path = str(Path(settings.uri).absolute())  # FFmpeg mistakes the 12: of 12:30.mp4 for a protocol
    what = f"video {settings.shown}"
    if settings.backend == "gstreamer":
        silence_ffmpeg()
        return _open(path, settings.backend, [], what, settings)
    options = {}
    if Path(path).suffix.lower() in PLAYLIST_SUFFIXES:
        options["protocol_whitelist"] = "file,crypto,data,http,https,tcp,tls"
    return _open_with_ffmpeg(path, what, settings, options)


def _open_with_ffmpeg(
    address: "str | HttpFile",
    what: str,
    settings: SourceSettings,
    options: dict[str, str],
    limits_s: tuple[float, float] | None = None,
    threads: int = 0,
) -> VideoReader:
    try:
        return PyavReader(address, options, limits_s, threads, hardware_decoder(settings.decoder))
    except NoVideoError as error:
        raise SourceError(f"cannot open {what}: {error}; give a file or address with video") from None
    except (FFmpegError, OSError, ValueError) as error:  # the text may contain the address with its password
        raise SourceError(f"cannot open {what}: {_next_step(settings, 'ffmpeg', error)}") from None


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


def _next_step(settings: SourceSettings, backend: str, error: BaseException | None = None) -> str:
    if settings.kind is SourceKind.CAMERA:
        return f"it is in use, or not a camera for {backend}; close other programs or try 'maskwatch doctor'"
    if settings.kind is SourceKind.STREAM:
        from app.capture.stream_probe import probe_stream  # imported late, because HTTP takes long to import

        return probe_stream(settings, error)
    return "not a readable video; try to play it in another program"

"""Writes videos and images under a temporary name, which is replaced when the file is complete."""

import contextlib
import os
import shutil
from fractions import Fraction
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from app.capture.pyav_backend import PyavReader
from app.core.errors import OutputError
from app.core.files import atomic_write, output_errors, temporary_path
from app.core.types import Image

_H264_OR_VP9 = ("libx264", "libvpx-vp9")  # both play in browsers; libx264 is faster
_ENCODERS = {
    ".mp4": _H264_OR_VP9,
    ".m4v": _H264_OR_VP9,
    ".mkv": _H264_OR_VP9,
    ".webm": ("libvpx-vp9",),
    ".avi": ("mjpeg",),
}
_ENCODER_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "23"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "b": "0", "crf": "33"},
    "mjpeg": {"qmin": "3", "qmax": "3"},
}
_SMPTE170M, _LIMITED_RANGE, _FULL_RANGE = 6, 1, 2
"""ITU-T H.273: how BGR was converted. Browsers guess it from the size of a video that does not say so."""
MAX_FILL_S = 10.0
"""A gap is filled with the last image up to this length; longer gaps are left out, such as a night offline."""
_LIVE_SHARE = 0.5
"""Filling a gap of a live source may take this share of the gap. Without the limit, a slow encoder would make each
gap longer than the one before."""
_MAX_FPS = 250.0
_MIN_FREE_BYTES = 32 * 2**20
_SPACE_CHECK_FRAMES = 50


def check_output(path: Path, what: str = "video") -> None:
    """Raises OutputError in one line if ``path`` cannot be written. Leaves no file behind."""
    if what == "video" and path.suffix.lower() not in _ENCODERS:
        raise OutputError(f"cannot write video {path}: unknown extension '{path.suffix}'; use {', '.join(_ENCODERS)}")
    folder = path.parent
    probe = folder / f".{path.name}.{os.getpid()}.probe"
    with output_errors(f"{what} {path}", "choose another path"):
        if path.is_dir():
            raise OutputError(f"cannot write {what} {path}: it is a folder; give a file name")
        if not folder.is_dir():
            raise OutputError(f"cannot write {what} {path}: no such folder {folder}; create it first")
        with probe.open("xb"):
            pass
        probe.unlink()
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {what} {path}: it exists and is read-only; choose another name")
        free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _MIN_FREE_BYTES:
        raise OutputError(f"cannot write {what} {path}: only {free_bytes >> 20} MiB free on its disk; free some space")


def save_image(image: Image, path: Path) -> None:
    """Write ``image``, (H, W, 3) uint8 BGR, in the format of the extension of ``path``. Raises OutputError and leaves
    no incomplete file."""
    with output_errors(path, "choose another path"), atomic_write(path) as partial:
        partial.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


class VideoWriter:
    """Writes frames to ``path`` (.mp4, .webm, .mkv or .avi), which exists only when the video is complete.

    With ``time_s``, frames are repeated or dropped to keep the source's speed; if ``is_live``, fewer are repeated when
    the encoder is too slow. Images of another size than ``size`` (width, height; px) get black bars. An exception
    inside the ``with`` block discards the video. Raises OutputError.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], *, is_live: bool = False) -> None:
        check_output(path)
        av.logging.set_level(None)
        self.path = path
        self.frames = 0
        self._fps = min(max(fps, 1.0), _MAX_FPS)
        self._rate = Fraction(self._fps).limit_denominator(1001)  # 23.976 as 24000/1001
        self._size = size[0] - size[0] % 2 or 2, size[1] - size[1] % 2 or 2  # the encoders need even sides
        # Absolute, because FFmpeg mistakes the text before a colon in a name for a protocol.
        self._part = temporary_path(path.absolute())
        self._is_live = is_live
        self._start_s: float | None = None
        self._last: Image | None = None
        self._converter = VideoReformatter()
        try:
            self._container = av.open(str(self._part), "w")
            try:
                self._stream = self._opened_stream()
            except BaseException:
                self._container.close()
                raise
        except (FFmpegError, OSError, ValueError) as error:
            self._part.unlink(missing_ok=True)
            raise OutputError(f"cannot write video {path}: {_reason(error)}; try a name that ends in .avi") from error
        self._open = True

    def _opened_stream(self) -> VideoStream:
        """The stream of the first encoder that this FFmpeg has. Raises ValueError if it has none."""
        for name in _ENCODERS[self.path.suffix.lower()]:
            if name not in av.codecs_available:
                continue
            stream = self._container.add_stream(name, rate=self._rate, options=_ENCODER_OPTIONS[name])
            assert isinstance(stream, VideoStream)
            codec = stream.codec_context
            codec.width, codec.height = self._size
            codec.pix_fmt = "yuvj420p" if name == "mjpeg" else "yuv420p"
            codec.time_base = 1 / self._rate
            codec.colorspace = _SMPTE170M
            codec.color_range = _FULL_RANGE if name == "mjpeg" else _LIMITED_RANGE
            codec.open()
            self._container.start_encoding()  # a file that cannot be written fails now
            return stream
        raise ValueError("there is no encoder for this format")

    def write(self, image: Image, time_s: float | None = None) -> None:
        """Add ``image``, (H, W, 3) uint8 BGR, which is not changed. Raises OutputError if the disk is full."""
        fitted = self._fit(image)
        due = 1 if time_s is None else self._frames_due(time_s)
        end_s = monotonic() + _LIVE_SHARE * due / self._fps
        for _ in range(due - 1):
            if self._is_live and time_s is not None and monotonic() >= end_s:
                self._start_s = time_s - self.frames / self._fps  # the rest of the gap is left out
                break
            self.append(self._last if self._last is not None else fitted)
        if due > 0:
            self.append(fitted)
        self._last = fitted

    def _frames_due(self, time_s: float) -> int:
        """The number of frames that are missing until ``time_s``."""
        if self._start_s is None:
            self._start_s = time_s - self.frames / self._fps
        due = round((time_s - self._start_s) * self._fps) + 1 - self.frames
        max_due = max(1, round(MAX_FILL_S * self._fps))
        if due > max_due or due < -max_due:  # a long gap, or a clock that was set back: continue from here
            self._start_s = time_s - self.frames / self._fps
            return 1
        return due

    def append(self, image: Image) -> None:
        if self.frames % _SPACE_CHECK_FRAMES == 0 and shutil.disk_usage(self._part.parent).free < _MIN_FREE_BYTES:
            raise OutputError(f"cannot continue to write {self.path}: its disk is full; free some space")
        frame = self._converter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24"),
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=self._stream.codec_context.color_range,
            threads=1,
        )
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        try:
            self._container.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            raise OutputError(f"cannot continue to write {self.path}: {_reason(error)}; check its disk") from error
        self.frames += 1

    def _fit(self, image: Image) -> Image:
        width, height = self._size
        if image.shape[:2] == (height, width):
            return image
        scale = min(width / image.shape[1], height / image.shape[0])
        inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        resized = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        right, bottom = width - inner[0] - left, height - inner[1] - top
        return cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT)  # type: ignore[return-value]

    def close(self) -> None:
        """Complete the video and rename it to ``path``. Raises OutputError and deletes an incomplete video; if only
        the renaming fails, the video keeps its temporary name."""
        if not self._open:
            return
        self._open, complete = False, False
        try:
            complete = self._finish_encoding() and _can_decode(self._part)
            if self.frames == 0:
                return
            if not complete:
                raise OutputError(f"cannot complete video {self.path}; check whether its disk is full")
            self._part.replace(self.path)
        except OSError as error:
            raise OutputError(
                f"cannot write video {self.path}: {error.strerror}; it is kept as {self._part}"
            ) from error
        finally:
            if not complete:
                with contextlib.suppress(OSError):
                    self._part.unlink(missing_ok=True)

    def _finish_encoding(self) -> bool:
        """Whether all frames were written."""
        try:
            try:
                if self.frames:
                    self._container.mux(self._stream.encode(None))
            finally:  # an open file cannot be deleted on Windows
                self._container.close()
        except (FFmpegError, OSError):
            return False
        return self.frames > 0

    def discard(self) -> None:
        """Delete the video."""
        self.frames = 0
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _reason(error: Exception) -> str:
    """The text of an error without FFmpeg's file names and numbers."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def _can_decode(path: Path) -> bool:
    """Whether a decoder can read the first frame. The encoder does not always report a full disk."""
    try:
        reader = PyavReader(str(path))
    except (FFmpegError, OSError, ValueError):
        return False
    ok, _ = reader.read()
    reader.release()
    return ok

"""Videos and pictures out: written under a temporary name, renamed when whole, in true time."""

import contextlib
import os
import shutil
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import cv2

from app.capture.opencv_backend import silence_ffmpeg
from app.core.errors import OutputError
from app.core.types import Image

_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
MAX_FILL_S = 10.0
"""A gap is filled with the last picture for at most this long: a camera that was away for a night adds no night."""
_LIVE_SHARE = 0.5
"""Filling a gap of something live takes at most this part of the gap: else an encoder slower than the film would make
each gap longer than the one before, until all stands still."""
_MAX_FPS = 250.0
_MIN_FREE_BYTES = 32 * 2**20
_SPACE_CHECK_FRAMES = 50


def check_output(path: Path, what: str = "video") -> None:
    """Raises OutputError in one line where a video cannot be written to ``path``. Writes nothing that stays."""
    if what == "video" and path.suffix.lower() not in _CODECS:
        raise OutputError(f"cannot write video {path}: unknown ending '{path.suffix}'; use {', '.join(_CODECS)}")
    folder = path.parent
    probe = folder / f".{path.name}.{os.getpid()}.probe"
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {what} {path}: it is a folder; give a file's name")
        if not folder.is_dir():
            raise OutputError(f"cannot write {what} {path}: no such folder {folder}; make it first")
        with probe.open("xb"):
            pass
        probe.unlink()
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {what} {path}: it exists and may not be changed; choose another name")
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"cannot write {what} {path}: {error.strerror}; choose another place") from error
    if free_bytes < _MIN_FREE_BYTES:
        raise OutputError(f"cannot write {what} {path}: only {free_bytes >> 20} MiB free on its disk; make room")


def save_image(image: Image, path: Path) -> None:
    """Write ``image``, (H, W, 3) uint8 BGR, in the form that the name of ``path`` tells. Raises OutputError; leaves no
    half-written file."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; choose another place") from error
    finally:  # Ctrl-C too
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


class VideoWriter:
    """Writes frames to ``path`` (.mp4, .mkv or .avi), which appears only when whole.

    With ``time_s``, frames are repeated or left out so that the video runs as the source did; without, each is
    written once. ``is_live``: the source waits for nobody, and where the encoder is too slow the video runs faster.
    Pictures of another size than ``size`` (width, height; px) are fitted in, with black bars.
    Leaving the ``with`` by an exception throws the video away. Raises OutputError, before any work where it can.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], *, is_live: bool = False) -> None:
        check_output(path)
        silence_ffmpeg()
        self.path = path
        self.frames = 0
        self._fps = min(max(fps, 1.0), _MAX_FPS)
        self._size = size[0] - size[0] % 2 or 2, size[1] - size[1] % 2 or 2  # MPEG-4 wants even sides
        # Absolute: FFmpeg takes what is before a colon in a name for a protocol.
        self._part = path.absolute().with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        self._is_live = is_live
        self._start_s: float | None = None
        self._last: Image | None = None
        codec = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, codec, _coded_fps(self._fps), self._size)
        self._open = self._writer.isOpened()
        if not self._open:
            self._part.unlink(missing_ok=True)
            raise OutputError(f"cannot write video {path}: no encoder for it here; try a name that ends in .avi")

    def write(self, image: Image, time_s: float | None = None) -> None:
        """Add ``image``: (H, W, 3) uint8 BGR, which is not changed. Raises OutputError when the disk is full."""
        fitted = self._fit(image)
        due = 1 if time_s is None else self._frames_due(time_s)
        end_s = monotonic() + _LIVE_SHARE * due / self._fps
        for _ in range(due - 1):
            if self._is_live and time_s is not None and monotonic() >= end_s:
                self._start_s = time_s - self.frames / self._fps  # the rest of the gap is left out
                break
            self._append(self._last if self._last is not None else fitted)
        if due > 0:
            self._append(fitted)
        self._last = fitted

    def _frames_due(self, time_s: float) -> int:
        """How many frames are missing until ``time_s``."""
        if self._start_s is None:
            self._start_s = time_s - self.frames / self._fps
        due = round((time_s - self._start_s) * self._fps) + 1 - self.frames
        most = max(1, round(MAX_FILL_S * self._fps))
        if due > most or due < -most:  # a long gap, or a clock set back: go on from here
            self._start_s = time_s - self.frames / self._fps
            return 1
        return due

    def _append(self, image: Image) -> None:
        if self.frames % _SPACE_CHECK_FRAMES == 0 and shutil.disk_usage(self._part.parent).free < _MIN_FREE_BYTES:
            raise OutputError(f"cannot go on writing {self.path}: its disk is full; make room")
        self._writer.write(image)
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
        """Finish the video and give it its name. Raises OutputError where that fails; nothing half-written stays, but a
        whole video that cannot get its name keeps its temporary one."""
        if not self._open:
            return
        self._open, whole = False, False
        self._writer.release()
        try:
            if self.frames == 0:
                return
            whole = _is_whole(self._part)
            if not whole:
                raise OutputError(f"video {self.path} could not be finished; is its disk full?")
            self._part.replace(self.path)
        except OSError as error:
            raise OutputError(
                f"cannot write video {self.path}: {error.strerror}; it is kept as {self._part}"
            ) from error
        finally:
            if not whole:
                with contextlib.suppress(OSError):
                    self._part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Throw the video away."""
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


def _coded_fps(fps: float) -> float:
    """``fps`` as MPEG-4 can code it: it has 16 bits for the divisor of a second, and OpenCV hands on thousandths."""
    return round(fps, 2) if fps > 65 else fps


def _is_whole(path: Path) -> bool:
    """Whether a decoder can open it: the encoder itself reports no full disk."""
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return reader.isOpened() and reader.read()[0]
    finally:
        reader.release()


def jpeg_bytes(image: Image, quality: int) -> bytes:
    """``image`` ((H, W, 3) uint8 BGR) as a JPEG file."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()

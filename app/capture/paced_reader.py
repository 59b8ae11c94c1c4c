"""An http stream of unknown length may be a camera or a video: what arrives faster than real time is held back."""

import math
import time
import zlib
from typing import Any

import cv2
from numpy.typing import NDArray

_LEAD_S = 2.0
"""Cameras send what they have buffered at once: up to this time it is not held back."""


class PacedReader:
    """Reads ``reader``, but not faster than its time stamps. ``is_like_video``: most of it had to be held back."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._start: tuple[float, float] | None = None
        """The clock and the time stamp of the first image."""
        self._stream_s = 0.0
        self._held_s = 0.0
        self._next: tuple[bool, NDArray[Any] | None] | None = None
        self.first_image: int | None = None
        """A checksum of the first image; None before it is read."""

    @property
    def is_like_video(self) -> bool:
        return self._stream_s > 2 * _LEAD_S and self._held_s > 0.5 * self._stream_s

    def peek(self) -> bool:
        """Read in advance; returns False at the end."""
        self._next = None if self.first_image is None else self._next
        self._next = self._next or self.read()
        return self._next[0]

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        if self._next is not None:
            read, self._next = self._next, None
            return read
        ok, image = self._reader.read()
        if ok and image is not None and image.size:
            if self.first_image is None:
                self.first_image = zlib.crc32(image.tobytes())
            self._wait()
        return ok, image

    def grab(self) -> bool:
        """Skips an image; see ``PyavReader.grab``."""
        if self._next is not None:
            return self.read()[0]
        ok: bool = self._reader.grab()
        self._wait()
        return ok

    @property
    def backlog(self) -> int:
        return getattr(self._reader, "backlog", 0)

    def _wait(self) -> None:
        stamp_s, now_s = self.get(cv2.CAP_PROP_POS_MSEC) / 1000, time.monotonic()
        if math.isnan(stamp_s):  # no time stamp
            return
        if self._start is None:
            self._start = now_s, stamp_s
        self._stream_s = stamp_s - self._start[1]
        early_s = self._stream_s - (now_s - self._start[0]) - _LEAD_S
        if 0 < early_s < 60:  # more is a jump of the time stamps
            wait_s = min(early_s, 1.0)
            time.sleep(wait_s)
            self._held_s += wait_s

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        return float(self._reader.get(propId))

    def release(self) -> None:
        self._reader.release()

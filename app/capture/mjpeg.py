"""Finds the JPEG images in a stream of bytes by the structure of JPEG itself (ITU-T T.81, annex B).

Cameras send motion JPEG as ``multipart/x-mixed-replace`` with boundaries, lengths and headers that are often wrong.
Browsers show them anyway. Here all that is between two images is skipped, so that it cannot be wrong.
"""

import re
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from app.capture.http_body import MAX_IMAGE_BYTES
from app.capture.http_client import HttpAnswer, HttpClient
from app.core.errors import SourceError
from app.settings.source import SourceSettings

MJPEG_CODEC = float(cv2.VideoWriter.fourcc(*"MJPG"))
"""What ``get`` answers for the codec: such a stream has no time stamps."""
_MAX_NO_IMAGE_BYTES = 4 * 2**20
_EMPTY = np.empty((0, 0, 3), np.uint8)
_START = b"\xff\xd8\xff"
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
# Inside a scan 0xFF is followed by 0x00 (an escape), a restart marker, or more fill bytes; else it begins a marker.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_NEXT_PART = re.compile(rb"\r?\n(?:--|[A-Za-z][A-Za-z-]*:)")
_ENDLESS = 3
"""Images in a row without an end marker, after which the camera is known to omit it."""


class JpegSplitter:
    """Splits a stream into JPEG images. It holds at most ``MAX_IMAGE_BYTES`` and the last chunk.

    An image that is cut off is dropped. Some cameras omit the end marker of every image: after ``_ENDLESS`` of them
    in a row, the begin of the next part ends an image.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        """Where to continue. Before it everything is read; 0 if no image has begun."""
        self._in_scan = False
        self._cut_off = 0
        self.skipped_bytes = 0
        """Bytes since the last image in which no image was found."""

    @property
    def has_begun(self) -> bool:
        """Whether the buffer begins with an image that is not complete."""
        return self._at > 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The images that ``chunk`` completes."""
        self._buffer += chunk
        images: list[bytes] = []
        while self._begin():
            image = self._complete()
            if image is None:
                break
            if image:
                images.append(image)
                self.skipped_bytes = 0
        return images

    def _begin(self) -> bool:
        """Whether the buffer begins with an image, after all before it is dropped."""
        if self._at:
            return True
        start = self._buffer.find(_START)
        drop = start if start >= 0 else max(0, len(self._buffer) - len(_START) + 1)
        del self._buffer[:drop]
        self.skipped_bytes += drop
        self._at, self._in_scan = (2, False) if start >= 0 else (0, False)
        return start >= 0

    def _complete(self) -> bytes | None:
        """The image at the start of the buffer; b'' if it is not one and was dropped, None if bytes are missing."""
        buffer = self._buffer
        while True:
            if self._in_scan:
                found = _SCAN_END.search(buffer, self._at)
                if found is None:
                    self._at = max(self._at, len(buffer) - 1)
                    return self._missing()
                self._at, self._in_scan = found.start(), False
            if len(buffer) < self._at + 2:
                return self._missing()
            if buffer[self._at] != 0xFF:
                return self._drop(2)
            marker = buffer[self._at + 1]
            if marker == 0xFF:  # a fill byte
                self._at += 1
            elif marker == _END_OF_IMAGE:
                self._cut_off = 0
                return self._take(self._at + 2)
            elif marker == _START_OF_IMAGE:
                return self._next_began()
            elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a length
                self._at += 2
            elif len(buffer) < self._at + 4:
                return self._missing()
            else:
                length = int.from_bytes(buffer[self._at + 2 : self._at + 4], "big")
                if length < 2 or marker < 0xC0:
                    return self._drop(2)
                self._in_scan = marker == _START_OF_SCAN
                self._at += 2 + length

    def _missing(self) -> bytes | None:
        return None if len(self._buffer) <= MAX_IMAGE_BYTES else self._drop(2)

    def _drop(self, count: int) -> bytes:
        del self._buffer[:count]
        self.skipped_bytes += count
        self._at = 0
        return b""

    def _take(self, end: int) -> bytes:
        image = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._at = 0
        return image

    def _next_began(self) -> bytes:
        """The next image begins before this one has ended."""
        self._cut_off += 1
        end = self._at
        if self._cut_off <= _ENDLESS:
            return self._drop(end)
        parts = [match.start() for match in _NEXT_PART.finditer(self._buffer, max(0, end - 1024), end)]
        image = bytes(self._buffer[: parts[0] if parts else end]) + b"\xff\xd9"
        del self._buffer[:end]
        self._at = 0
        return image


_TURNS = {-90: cv2.ROTATE_90_CLOCKWISE, 90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180}
"""By FFmpeg's rotation in degrees to the left. A mirrored image has the same value as one that is upside down."""


class JpegDecoder:
    """FFmpeg's decoder for JPEG: it accepts images without Huffman tables, and prints nothing."""

    def __init__(self) -> None:
        av.logging.set_level(None)
        self._codec = av.VideoCodecContext.create("mjpeg", "r")

    def decode(self, jpeg: bytes) -> NDArray[Any] | None:
        """(H, W, 3) uint8 BGR; None if it cannot be decoded."""
        try:
            for frame in self._codec.decode(av.Packet(jpeg)):
                image = frame.to_ndarray(format="bgr24")
                turn = _TURNS.get(frame.rotation)  # by its EXIF data
                return image if turn is None else cv2.rotate(image, turn)
        except (av.error.FFmpegError, ValueError):
            pass
        return None


class MjpegReader:
    """Reads motion JPEG from an answer with the methods of ``cv2.VideoCapture``."""

    def __init__(
        self, settings: SourceSettings, client: HttpClient, answer: HttpAnswer, chunks: Iterator[bytes]
    ) -> None:
        self._settings = settings
        self._client = client
        self._answer = answer
        self._chunks = chunks
        self._splitter = JpegSplitter()
        self._images: deque[bytes] = deque()
        self._decoder = JpegDecoder()
        self._received = 0

    def single_image(self) -> NDArray[Any] | None:
        """The image if the whole answer is one image; otherwise None, and it is a stream of images."""
        end_s = time.monotonic() + self._settings.read_timeout_s
        while not self._images:
            if not self._receive() or time.monotonic() > end_s:
                raise SourceError(f"cannot open {self._settings.shown}: its image is cut off; check the camera")
        length = self._answer.length
        while length is None or self._received < length:
            if len(self._images) > 1 or self._splitter.has_begun:
                return None
            if not self._receive():
                break
        return self._decoder.decode(self._images[0]) if len(self._images) == 1 else None

    def _receive(self) -> bool:
        """Whether there was more to receive."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._received += len(chunk)
        self._images.extend(self._splitter.feed(chunk))
        return True

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        """The next image; (True, an empty image) if it is damaged or late; (False, None) at the end."""
        end_s = time.monotonic() + self._settings.read_timeout_s
        while not self._images:
            if not self._receive():
                return False, None
            if self._splitter.skipped_bytes > _MAX_NO_IMAGE_BYTES:
                raise SourceError(f"lost {self._settings.shown}: it sends no JPEG images; check the path")
            if time.monotonic() > end_s:
                return True, _EMPTY
        image = self._decoder.decode(self._images.popleft())
        return True, _EMPTY if image is None else image

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        return MJPEG_CODEC if propId == cv2.CAP_PROP_FOURCC else 0.0

    def release(self) -> None:
        self._answer.close()
        self._client.close()

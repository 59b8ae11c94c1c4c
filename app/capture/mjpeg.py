"""Finds the images in a stream of bytes by their own structure: JPEG (ITU-T T.81, annex B), PNG and WebP.

Cameras send motion JPEG as ``multipart/x-mixed-replace`` with boundaries, lengths and headers that are often wrong.
Browsers show them anyway, and PNG and WebP too. Here all that is between two images is skipped, so that it cannot be
wrong.
"""

import re
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

MAX_IMAGE_BYTES = 32 * 2**20
IMAGE_START = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP", re.DOTALL)
_LONGEST_START = 12
_CODECS = {b"\xff": "mjpeg", b"\x89": "png", b"R": "webp"}
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA
# Inside a scan 0xFF is followed by 0x00 (an escape), a restart marker, or more fill bytes; else it begins a marker.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_NEXT_PART = re.compile(rb"\r?\n(?:--|[A-Za-z][A-Za-z-]*:)")
_ENDLESS = 3
"""Images in a row without an end marker, after which the camera is known to omit it."""


class ImageSplitter:
    """Splits a stream into images. It holds at most ``MAX_IMAGE_BYTES`` and the last chunk.

    An image that is cut off is dropped. Some cameras omit the end marker of every JPEG: after ``_ENDLESS`` of them
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
        start = IMAGE_START.search(self._buffer)
        drop = start.start() if start else max(0, len(self._buffer) - _LONGEST_START + 1)
        self._at, self._in_scan = (2 if start[0][0] == 0xFF else 8) if start else 0, False
        del self._buffer[:drop]
        self.skipped_bytes += drop
        return self._at > 0

    def _complete(self) -> bytes | None:
        """The image at the start of the buffer; b'' if it is not one and was dropped, None if bytes are missing."""
        if self._buffer.startswith(b"RIFF"):
            size = int.from_bytes(self._buffer[4:8], "little")
            return self._whole(8 + size + size % 2)
        return self._complete_jpeg() if self._buffer[0] == 0xFF else self._complete_png()

    def _whole(self, end: int) -> bytes | None:
        """The image, if it ends at ``end``."""
        if end > MAX_IMAGE_BYTES:
            return self._drop(2)
        return self._take(end) if len(self._buffer) >= end else None

    def _complete_png(self) -> bytes | None:
        buffer = self._buffer
        while len(buffer) >= self._at + 8:
            length, kind = int.from_bytes(buffer[self._at : self._at + 4], "big"), buffer[self._at + 4 : self._at + 8]
            end = self._at + 12 + length
            if kind == b"IEND":
                return self._whole(end)
            if not kind.isalpha() or end > MAX_IMAGE_BYTES:
                return self._drop(2)
            self._at = end
        return None

    def _complete_jpeg(self) -> bytes | None:
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


class ImageDecoder:
    """FFmpeg's decoders: they print nothing, and accept JPEG without Huffman tables. OpenCV's for other formats."""

    def __init__(self) -> None:
        av.logging.set_level(None)
        self._codecs: dict[str, Any] = {}

    def decode(self, coded: bytes) -> NDArray[Any] | None:
        """(H, W, 3) uint8 BGR; None if it cannot be decoded."""
        name = _CODECS.get(coded[:1])
        try:
            if name is None:
                return cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
            if name not in self._codecs:
                self._codecs[name] = av.VideoCodecContext.create(name, "r")
                self._codecs[name].thread_count = 1  # more threads would return an earlier image
            packet = av.Packet(coded)
            packet.is_keyframe = True  # otherwise FFmpeg adds the image before to a PNG
            for frame in self._codecs[name].decode(packet):
                image: NDArray[Any] = frame.to_ndarray(format="bgr24")
                turn = _TURNS.get(frame.rotation)  # by its EXIF data
                return image if turn is None else cv2.rotate(image, turn)
        except (av.error.FFmpegError, ValueError, cv2.error):
            pass
        return None

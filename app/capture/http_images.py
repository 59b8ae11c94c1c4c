"""HTTP cameras that send images: many in an endless answer (motion JPEG), or one in each answer, which is polled."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.capture.http_body import kind_of, not_a_video, peek
from app.capture.http_client import HttpAnswer, HttpClient
from app.capture.mjpeg import MAX_IMAGE_BYTES, ImageDecoder, ImageSplitter
from app.core.errors import RetryLaterError, SourceError
from app.settings.source import SourceSettings

_WAIT_S = 0.2
"""A read before the next image is due returns an empty image after this time."""
_MAX_NO_IMAGE_BYTES = 4 * 2**20
_NO_IMAGES = "it sends no image in JPEG, PNG or WebP that can be decoded"
_EMPTY = np.empty((0, 0, 3), np.uint8)
_CODEC = float(cv2.VideoWriter.fourcc(*"MJPG"))
"""Such a stream has no time stamps."""


class HttpImageReader:
    """Reads the images of an address with the methods of ``cv2.VideoCapture``. If an answer contains only one image,
    the address is polled; an unchanged image is returned again, so that a frozen camera is noticed."""

    def __init__(
        self, settings: SourceSettings, client: HttpClient, answer: HttpAnswer, chunks: Iterator[bytes], kind: str
    ) -> None:
        """``kind`` of the answer: image, image file, or mjpeg; see ``kind_of``."""
        self._settings = settings
        self._client = client
        self._decoder = ImageDecoder()
        self._image: NDArray[Any] = _EMPTY
        self._has_image = False
        self._answered_s = time.monotonic()
        self._due_s = self._answered_s + settings.snapshot_interval_s
        self._validators = _validators(answer)
        self._has_validators = False
        """Whether a new image had new validators. Some cameras send a date that never changes."""
        self._begin(answer, chunks, kind)

    def _begin(self, answer: HttpAnswer, chunks: Iterator[bytes], kind: str) -> None:
        self._answer, self._chunks, self._kind = answer, chunks, kind
        self._splitter = ImageSplitter()
        self._images: deque[bytes] = deque()
        self._body = bytearray()
        self._received = self._count = 0
        self._has_ended = False

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        """The next image; (True, an empty image) if it is damaged or late; (False, None) at the end. Raises
        SourceError."""
        while True:
            coded = None if self._has_ended else self._next_in_answer()
            if coded is not None:
                return True, self._decoded(coded)
            self._has_ended = True
            if not self._has_image and not self._splitter.has_begun:
                raise SourceError(f"cannot open {self._settings.shown}: {_NO_IMAGES}; check the path")
            if self._count > 1:
                return False, None
            wait_s = self._due_s - time.monotonic()
            time.sleep(min(max(wait_s, 0.0), _WAIT_S))
            if wait_s > _WAIT_S:
                return True, _EMPTY
            if not self._ask_again():
                return True, self._image

    def grab(self) -> bool:
        """Skips an image of motion JPEG without decoding it; False if there is none."""
        return self._kind == "mjpeg" and not self._has_ended and bool(self._next_in_answer())

    def _ask_again(self) -> bool:
        """Whether the server has answered with a new image. Raises SourceError, for a failed request only if the last
        answer is older than ``read_timeout_s``."""
        self._answer.close()
        self._due_s = max(self._due_s, time.monotonic() - self._settings.snapshot_interval_s)
        self._due_s += self._settings.snapshot_interval_s
        try:
            answer = self._client.get(self._validators if self._has_validators else None)
        except SourceError as error:  # small cameras fail now and then
            if (
                isinstance(error, RetryLaterError)
                or time.monotonic() > self._answered_s + self._settings.read_timeout_s
            ):
                raise
            return False
        self._answered_s = time.monotonic()
        if answer.status in (204, 304):  # 304 is right, but 204 is also sent for an unchanged image
            answer.close()
            return False
        head, chunks = peek(answer)
        kind = kind_of(answer, head)
        if kind in ("empty", "page", "text"):
            answer.close()
            raise not_a_video(self._settings, answer, kind)
        self._begin(answer, chunks, kind)
        return True

    def _next_in_answer(self) -> bytes | None:
        """The next image of the answer; b'' if it is late or cut off, None at the end."""
        end_s = time.monotonic() + self._settings.read_timeout_s
        while not self._images:
            chunk = None if self._is_complete else next(self._chunks, None)
            if chunk is None:
                return self._rest()
            self._received += len(chunk)
            if self._kind == "image file":
                self._body += chunk
            else:
                self._images += self._splitter.feed(chunk)
            is_late = time.monotonic() > end_s
            no_image_bytes = self._splitter.skipped_bytes + max(0, len(self._body) - MAX_IMAGE_BYTES)
            if no_image_bytes > _MAX_NO_IMAGE_BYTES or (is_late and not self._has_image):
                raise SourceError(f"lost {self._settings.shown}: {_NO_IMAGES}; check the path")
            if is_late and not self._images:
                return b""
        self._count += 1
        return self._images.popleft()

    @property
    def _is_complete(self) -> bool:
        """Whether the answer is one image and ends here, whatever its length says. An answer that ends where its length
        says is read to its end, which keeps the connection."""
        if self._count != 1 or self._splitter.has_begun or self._kind != "image":
            return False
        answer = self._answer
        has_ended = answer.is_framed and answer.length is not None and self._received >= answer.length
        return (not answer.content_type or answer.content_type.startswith("image/")) and not has_ended

    def _rest(self) -> bytes | None:
        """What the end of the answer completes; b'' if an image is cut off, None if there is nothing."""
        if self._body:
            self._count, body, self._body = 1, bytes(self._body), bytearray()
            return body.lstrip(b"\r\n\0 \t")
        if self._count or not self._splitter.has_begun:
            return None
        if self._answer.is_framed and self._answer.length is not None:
            self._client.is_lenient = True  # the length may be wrong
        elif not self._has_image:
            raise SourceError(f"cannot open {self._settings.shown}: its image is cut off; check the camera")
        self._has_ended = True
        return b""

    def _decoded(self, coded: bytes) -> NDArray[Any]:
        if not coded:
            return _EMPTY
        image = self._decoder.decode(coded)
        if image is None:
            return _EMPTY
        self._has_image = True
        if self._count == 1:
            validators = _validators(self._answer)
            if not np.array_equal(image, self._image):
                self._has_validators = bool(self._validators) and validators != self._validators
            self._image, self._validators = image, validators
        return image

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        fps = 0.0 if self._kind == "mjpeg" else 1 / self._settings.snapshot_interval_s
        return {cv2.CAP_PROP_FOURCC: _CODEC, cv2.CAP_PROP_FPS: fps}.get(propId, 0.0)

    def release(self) -> None:
        self._answer.close()
        self._client.close()


def _validators(answer: HttpAnswer) -> dict[str, str]:
    """The headers of a request for a changed image only."""
    names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {sent: answer.headers[name] for name, sent in names.items() if answer.headers.get(name)}

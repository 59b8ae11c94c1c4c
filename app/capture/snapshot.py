"""Cameras that offer only single images: their address is polled."""

import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.capture.http_body import kind_of, not_a_video, whole_body
from app.capture.http_client import HttpAnswer, HttpClient
from app.capture.mjpeg import MJPEG_CODEC, JpegDecoder, JpegSplitter
from app.settings.source import SourceSettings

_WAIT_S = 0.2
"""A read before the next image is due returns an empty image after this time."""
_EMPTY = np.empty((0, 0, 3), np.uint8)


class SnapshotReader:
    """Polls an address that answers with one image, with the methods of ``cv2.VideoCapture``. An unchanged image is
    returned again, so that a frozen camera is noticed."""

    def __init__(self, settings: SourceSettings, client: HttpClient, answer: HttpAnswer, image: NDArray[Any]) -> None:
        self._settings = settings
        self._client = client
        self._image = image
        self._is_new = True
        self._due_s = 0.0
        self._validators = _validators(answer)
        self._has_validators = False
        """Whether a new image had new validators. Some cameras send a date that never changes."""

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        """The next image; (True, an empty image) before it is due. Raises SourceError."""
        if self._is_new:
            self._is_new = False
            self._due_s = time.monotonic() + self._settings.snapshot_interval_s
            return True, self._image
        wait_s = self._due_s - time.monotonic()
        time.sleep(min(max(wait_s, 0.0), _WAIT_S))
        if wait_s > _WAIT_S:
            return True, _EMPTY
        self._due_s = max(self._due_s, time.monotonic() - self._settings.snapshot_interval_s)
        self._due_s += self._settings.snapshot_interval_s
        return True, self._poll()

    def _poll(self) -> NDArray[Any]:
        answer = self._client.get(self._validators if self._has_validators else None)
        try:
            if answer.status in (204, 304):  # 304 is right, but 204 is also sent for an unchanged image
                return self._image
            body = whole_body(answer, answer.chunks, self._settings)
        finally:
            answer.close()
        image = decode_image_file(body)
        if image is None:
            kind = kind_of(answer, body[:4096])
            if kind in ("empty", "page", "text"):
                raise not_a_video(self._settings, answer, kind)
            return _EMPTY  # one damaged image
        if not np.array_equal(image, self._image):
            self._has_validators = bool(self._validators) and _validators(answer) != self._validators
        self._image, self._validators = image, _validators(answer)
        return image

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        known = {cv2.CAP_PROP_FOURCC: MJPEG_CODEC, cv2.CAP_PROP_FPS: 1 / self._settings.snapshot_interval_s}
        return known.get(propId, 0.0)

    def release(self) -> None:
        self._client.close()


def _validators(answer: HttpAnswer) -> dict[str, str]:
    """The headers of a request for a changed image only."""
    names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
    return {sent: answer.headers[name] for name, sent in names.items() if answer.headers.get(name)}


def decode_image_file(body: bytes) -> NDArray[Any] | None:
    """The image in ``body`` as BGR; None if it is none."""
    if body.startswith(b"\xff\xd8"):
        jpegs = JpegSplitter().feed(body)
        return JpegDecoder().decode(jpegs[0]) if jpegs else None
    try:
        return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None

"""Images of a data set: reading them, and caches of decoded images and of detections."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from app.core.errors import DataError
from app.core.files import write_text
from app.core.types import Box, Detection, Image
from app.vision.detector import FaceDetector


def read_image(path: Path) -> Image | None:
    """(H, W, 3) uint8 BGR, or None if the file is not a readable image."""
    try:
        coded = np.fromfile(path, np.uint8)
    except OSError:
        return None
    try:
        return cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None  # type: ignore[return-value]
    except cv2.error:  # the image is larger than OpenCV accepts
        return None


@dataclass(slots=True)
class ImageCache:
    """Decoded images, kept in memory up to ``max_bytes`` (two thousand scenes take 1.5 GB)."""

    max_bytes: int = 4 * 2**30
    images: dict[Path, Image] = field(default_factory=dict)
    held_bytes: int = 0

    def get(self, path: Path) -> Image:
        """(H, W, 3) uint8 BGR, which must not be changed. Raises DataError if the file is not an image."""
        if path in self.images:
            return self.images[path]
        image = read_image(path)
        if image is None:
            raise DataError(f"cannot read the image {path}; remove it from the annotations")
        image.flags.writeable = False
        if self.held_bytes + image.nbytes <= self.max_bytes:
            self.images[path] = image
            self.held_bytes += image.nbytes
        return image


class CachedDetector:
    """A detector whose detections are kept in the JSON file ``store``, by the content of the image, so that a resumed
    run does not detect again. Use it in a ``with`` block, whose end writes the file."""

    def __init__(self, detector: FaceDetector, store: Path) -> None:
        self._detector = detector
        self._store = store
        self._rows: dict[str, list[list[float]]] = {}
        with suppress(OSError, ValueError):  # a missing or damaged file only costs time
            self._rows = json.loads(store.read_text("utf-8"))
        self._stored = len(self._rows)

    def detect(self, image: Image) -> list[Detection]:
        """See ``FaceDetector``."""
        key = hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=12).hexdigest() + str(image.shape)
        if key not in self._rows:
            self._rows[key] = [
                [found.score, found.box.x, found.box.y, found.box.width, found.box.height, *np.ravel(found.landmarks)]
                for found in self._detector.detect(image)
            ]
        return [_detection(row) for row in self._rows[key]]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if len(self._rows) > self._stored:
            write_text(self._store, json.dumps(self._rows))


def _detection(row: list[float]) -> Detection:
    points = tuple(zip(row[5::2], row[6::2], strict=True))
    return Detection(Box(*row[1:5]), row[0], points)

"""The detection passes of a scan. A recorded video can be searched ahead: a full pass searches the first frame of each
second, and the frames between two full passes are searched only for the faces that these have found.

A person who is visible for one second is in at least one full pass. If nothing moves, one is repeated only every
few seconds. All this depends only on the video, not on where reading began.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from app.capture.recording_reader import SelectedFrame
from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.detector import FaceDetector
from app.vision.nms import merge_passes
from app.vision.preprocess import thumbnail
from app.vision.tiling import DownscalingDetector, run_pass

BLOCK_S = 4
"""The first second of each block has a full pass; the others reuse its result if nothing has moved since."""
_CHANGE = 6
"""Grey levels by which a cell of a still scene may differ."""
_SLACK = 1.2
"""Bounding boxes of a face vary by 20 %."""
_WALKED = 2.0
"""A face that moved farther in one second, in multiples of its size, is another person."""


@dataclass(frozen=True, slots=True)
class Second:
    """The selected frames of one second. ``found``: the faces in the first one; None if it is no full pass."""

    frames: tuple[SelectedFrame, ...]
    found: list[Detection] | None


class LookaheadDetector:
    """The detector of the analyzers of one shard; it serves the frames of the last second that ``seconds`` returned.
    ``looks_ahead`` is False if there are too many frames a second to keep them."""

    def __init__(self, detector: FaceDetector, settings: DetectorSettings, looks_ahead: bool) -> None:
        self._detector = detector
        self._width_px, self._least_px = settings.width_px, _SLACK * settings.least_px
        self._looks_ahead = looks_ahead
        self._image: Image | None = None
        self._found: list[Detection] = []
        self._last: list[Detection] = []
        self._expected: list[Box] | None = None
        self._later: list[Box] = []
        self._has_new_face = False
        self._second = -1
        self._reference: tuple[np.ndarray, list[Detection]] | None = None

    def seconds(self, frames: Iterable[SelectedFrame]) -> Iterator[Second]:
        pending: list[SelectedFrame] = []
        found: list[Detection] | None = None
        for frame in frames:
            ahead = self._full_pass(frame.image, frame.second) if frame.second is not None else None
            if pending and (ahead is not None or not self._looks_ahead):
                yield self._prepared(pending, found, ahead)
                pending = []
            if not pending:
                found = ahead
            pending.append(frame)
        if pending:
            is_alone = len(pending) == 1 or not self._looks_ahead
            yield self._prepared(pending, found, found if is_alone else self._detector.detect(pending[-1].image))

    def _full_pass(self, image: Image, second: int) -> list[Detection]:
        """The faces in the first frame of ``second``. Videos of a recording begin at second 0."""
        cells = thumbnail(image)
        starts_block = second // BLOCK_S != self._second // BLOCK_S or second <= self._second
        self._second = second
        if starts_block or self._reference is None or np.abs(cells - self._reference[0]).max() > _CHANGE:
            self._reference = cells, self._detector.detect(image)
        return self._reference[1]

    def _prepared(
        self, frames: list[SelectedFrame], found: list[Detection] | None, ahead: list[Detection] | None
    ) -> Second:
        self._image, self._found = (frames[0].image, found) if found is not None else (None, [])
        self._expected, self._later = None, []
        if self._looks_ahead and ahead is not None:
            now, later = [each.box for each in self._found], [each.box for each in ahead]
            self._expected, self._later, self._has_new_face = now + later, later, _has_new_face(now, later)
        return Second(tuple(frames), found)

    def detect(self, image: Image) -> list[Detection]:
        """See ``FaceDetector``. Between two full passes, only faces that are in one of them are searched."""
        return self.detect_tracked(image, [])

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:  # noqa: ARG002 - the protocol's signature
        """See ``RoiDetector``: each face is searched at the resolution that it needs. ``moved`` is not searched: the
        pass ahead shows whether somebody comes."""
        if image is self._image:
            self._last = self._found
        elif self._expected is None and not tracked:
            self._last = self._detector.detect(image)
        elif self._expected and self._has_new_face:
            self._last = self._resized(image, self._expected).detect(image)
        else:
            self._last = self._around(image, tracked or [each.box for each in self._last] + self._later)
        return self._last

    def _around(self, image: Image, faces: Sequence[Box]) -> list[Detection]:
        groups: dict[float, list[Box]] = {}
        for box in faces:
            groups.setdefault(self._factor(image, [box]), []).append(box)
        return merge_passes(run_pass(self._resized(image, boxes), image, boxes) for boxes in groups.values())

    def _resized(self, image: Image, faces: Sequence[Box]) -> FaceDetector:
        factor = self._factor(image, faces)
        return DownscalingDetector(self._detector, factor) if factor < 1 else self._detector

    def _factor(self, image: Image, faces: Sequence[Box]) -> float:
        """By how much ``image`` can be shrunk so that all ``faces`` are still found reliably; 1: not at all."""
        smallest_px = min(face.size for face in faces)
        whole = min(1.0, self._width_px / image.shape[1])
        return next((whole / by for by in (4, 2) if smallest_px * whole / by >= self._least_px), 1.0)


def _has_new_face(before: Sequence[Box], after: Sequence[Box]) -> bool:
    """Whether one of the faces ``after`` a second is none of those ``before``."""
    left = list(before)
    for box in after:
        near = [other for other in left if _distance(box, other) <= _WALKED]
        if not near:
            return True
        left.remove(min(near, key=lambda other: _distance(box, other)))
    return False


def _distance(box: Box, other: Box) -> float:
    """Between the centres, in sizes of the larger face."""
    (x, y), (other_x, other_y) = box.center, other.center
    return hypot(x - other_x, y - other_y) / max(box.size, other.size, 1.0)

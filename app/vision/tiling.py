"""How closely and where a detector looks: working width from a wanted face size, tiles for wide scenes, a region.

Wrappers around any ``FaceDetector``: each hands on a part of the picture, or a smaller one, and maps back what it
found.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from app.core.types import Box, Detection, Image
from app.settings.vision import MOST_WIDTH_PX, DetectorSettings
from app.vision.detector import FaceDetector, RoiDetector
from app.vision.nms import merge_passes
from app.vision.preprocess import resize
from app.vision.roi import min_kept_px

RELIABLE_PX = {"haar": 40, "cnn": 24}
"""The size to which faces can be shrunk and nine in ten of those found before still are, per kind of detector: measured
on development scenes by ``benchmarks/face_sizes.py``."""

SLACK = 0.8
"""Boxes of a face vary by a fifth: where ``min_face_px`` says how closely to look, none of that size must be lost."""

OVERLAP = 2.0
"""Overlap of tiles, in sizes of the smallest face that the whole picture shows reliably: one too large for the overlap
is found there."""

CUT_SHARE = 0.1
"""A box nearer to a seam than this share of its longer side may be a face that the seam cuts."""

MOST_COLUMNS = 12
"""Of ``tiles = "auto"``: each costs a look."""


def map_detection(found: Detection, scale_x: float, scale_y: float, dx: float = 0.0, dy: float = 0.0) -> Detection:
    """``found`` with box and points scaled, then moved."""
    box = found.box
    return replace(
        found,
        box=Box(box.x * scale_x + dx, box.y * scale_y + dy, box.width * scale_x, box.height * scale_y),
        landmarks=tuple((x * scale_x + dx, y * scale_y + dy) for x, y in found.landmarks),
    )


def run_pass(detector: FaceDetector, image: Image, known: Sequence[Box]) -> list[Detection]:
    """What ``detector`` finds, as quickly as it can where only faces like ``known`` ones, if any, are sought."""
    if known and isinstance(detector, RoiDetector):
        return detector.detect_tracked(image, known)
    return detector.detect(image)


class DownscalingDetector:
    """Shows ``detector`` the picture shrunk by ``factor`` (0 to 1), whatever its width."""

    def __init__(self, detector: FaceDetector, factor: float) -> None:
        self._detector = detector
        self._factor = factor

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        return self.detect_tracked(image, ())

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        """See ``RoiDetector``; all faces where none is known."""
        height, width = image.shape[:2]
        small = resize(image, max(1, round(width * self._factor)), max(1, round(height * self._factor)))
        scale_x, scale_y = width / small.shape[1], height / small.shape[0]
        seen = [box.scaled(1 / scale_x) for box in known]
        return [map_detection(found, scale_x, scale_y) for found in run_pass(self._detector, small, seen)]


class RegionDetector:
    """Shows ``detector`` only the rectangle ``region``: x, y, width and height as fractions of the picture."""

    def __init__(self, detector: FaceDetector, region: tuple[float, float, float, float]) -> None:
        self._detector = detector
        self._region = region

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR. Boxes are of the whole picture."""
        return self.detect_tracked(image, ())

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        """See ``RoiDetector``; all faces where none is known."""
        height, width = image.shape[:2]
        x, y, w, h = self._region
        left, top = min(math.floor(x * width), width - 1), min(math.floor(y * height), height - 1)
        right, bottom = min(math.ceil((x + w) * width), width), min(math.ceil((y + h) * height), height)
        part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
        seen = [box.moved(-left, -top) for box in known]
        return [map_detection(found, 1, 1, left, top) for found in run_pass(self._detector, part, seen)]


class TilingDetector:
    """Shows ``detector``, which shrinks all it is given to ``width_px``, the whole picture and overlapping tiles of it.

    ``grid``: columns and rows, or ``None`` for as many columns as let faces of ``min_face_px`` be seen with
    ``reliable_px``. Pictures of which no tile would show more than the whole are looked at once.
    """

    def __init__(
        self,
        detector: FaceDetector,
        grid: tuple[int, int] | None,
        *,
        width_px: int,
        reliable_px: float,
        min_face_px: int,
    ) -> None:
        self._detector = detector
        self._grid = grid
        self._width_px = width_px
        self._reliable_px = reliable_px
        self._min_face_px = min_face_px

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR. No face is reported twice."""
        whole_least_px = self._whole_least_px(image)
        whole = self._detector.detect(image)
        tiles = self.tiles(image.shape[1], image.shape[0])
        if not tiles:
            return whole
        overlap_px = self.overlap_px(image.shape[1])
        looks = []
        for x, y, width, height in tiles:
            found = self._detector.detect(image[y : y + height, x : x + width])
            seen = [map_detection(one, 1, 1, x, y) for one in found]
            clear = Box(x, y, width, height)
            looks.append([one for one in seen if _uncut(one.box, clear, image, overlap_px)])
        # What the whole picture shows well is taken from there, uncut; tiles see the others better.
        large = [one for one in whole if one.box.size >= whole_least_px]
        small = [one for one in whole if one.box.size < whole_least_px]
        return merge_passes([large, *looks, small])

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        """See ``RoiDetector``: what the whole picture shows well needs no tiles."""
        if min_kept_px(known) >= self._whole_least_px(image):
            return run_pass(self._detector, image, known)
        return self.detect(image)

    def _whole_least_px(self, image: Image) -> float:
        return self._reliable_px * int(image.shape[1]) / self._width_px

    def overlap_px(self, width: int) -> int:
        """What neighbouring tiles of a picture ``width`` px wide share."""
        return math.ceil(OVERLAP * self._reliable_px * width / self._width_px)

    def tiles(self, width: int, height: int) -> list[tuple[int, int, int, int]]:
        """x, y, width, height of each tile of a picture of that size, all equal in size; none where they are no use."""
        overlap_px = self.overlap_px(width)
        columns, rows = self._grid or (self._columns(width, overlap_px), 1)
        tile_width, tile_height = _tile_px(width, columns, overlap_px), _tile_px(height, rows, overlap_px)
        if width <= self._width_px or tile_width >= width:
            return []
        return [
            (x, y, tile_width, tile_height)
            for y in _starts(height, rows, tile_height)
            for x in _starts(width, columns, tile_width)
        ]

    def _columns(self, width: int, overlap_px: int) -> int:
        widest = self._width_px * self._min_face_px / self._reliable_px
        if widest >= width:
            return 1
        return min(math.ceil((width - overlap_px) / max(widest - overlap_px, 1.0)), MOST_COLUMNS)


def _uncut(box: Box, tile: Box, image: Image, overlap_px: int) -> bool:
    """Whether ``box``, found in ``tile``, is surely whole: not near a seam, and so small that some tile shows all of
    it."""
    longer = max(box.width, box.height)
    near = CUT_SHARE * longer
    cut = (
        (tile.x > 0 and box.x - tile.x < near)
        or (tile.y > 0 and box.y - tile.y < near)
        or (tile.x2 < image.shape[1] and tile.x2 - box.x2 < near)
        or (tile.y2 < image.shape[0] and tile.y2 - box.y2 < near)
    )
    return not cut and longer * (1 + 2 * CUT_SHARE) <= overlap_px


def _tile_px(side: int, count: int, overlap_px: int) -> int:
    """The side of ``count`` equal tiles that overlap by at least ``overlap_px`` and cover ``side`` px."""
    return min(math.ceil((side + (count - 1) * overlap_px) / count), side)


def _starts(side: int, count: int, tile_px: int) -> list[int]:
    """Where tiles of ``tile_px`` begin, each place once."""
    if tile_px >= side:
        return [0]
    return [round(i * (side - tile_px) / (count - 1)) for i in range(count)]


def wrap_detector(settings: DetectorSettings, load: Callable[[DetectorSettings], FaceDetector]) -> FaceDetector:
    """The detector that ``load`` makes, looking as closely and where ``settings`` say. An explicit working width, and
    tiles, which have one, win over the width that ``min_face_px`` would choose."""
    reliable_px = RELIABLE_PX[settings.kind]
    chooses = settings.min_face_px is not None and settings.working_width_px is None and settings.tiles is None
    detector: FaceDetector
    if chooses:
        factor = min(reliable_px / settings.least_px, 1.0)
        seen = {"working_width_px": MOST_WIDTH_PX, "min_face_px": max(round(SLACK * factor * settings.least_px), 1)}
        detector = load(settings.model_copy(update=seen))
        if factor < 1:
            detector = DownscalingDetector(detector, factor)
    elif settings.tiles == "auto":
        detector = load(settings.model_copy(update={"min_face_px": max(round(SLACK * settings.least_px), 1)}))
    else:
        detector = load(settings)
    if settings.tiles is not None:
        detector = TilingDetector(
            detector,
            None if settings.tiles == "auto" else (int(settings.tiles[0]), int(settings.tiles[2])),
            width_px=settings.width_px,
            reliable_px=reliable_px,
            min_face_px=settings.least_px,
        )
    return RegionDetector(detector, settings.region) if settings.region is not None else detector

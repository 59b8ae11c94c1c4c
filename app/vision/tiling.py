"""Wrappers around any ``FaceDetector``: downscaling to a wanted face size, tiles for wide scenes, a region.

Each passes a part of the image, or a smaller image, to its detector and maps the detections back.
"""

import math
from collections.abc import Sequence

from app.core.images import resize
from app.core.types import Box, Detection, Image
from app.vision.detector import FaceDetector, RoiDetector
from app.vision.nms import merge_passes
from app.vision.roi import min_tracked_px

OVERLAP = 2.0
"""Overlap of tiles, in sizes of the smallest face that is detected reliably in the whole image. Faces that are larger
than the overlap are detected there."""

CUT_SHARE = 0.1
"""A box may be cut off if its distance to a tile's edge is below this share of its longer side."""

MAX_COLUMNS = 12
"""Limit for ``tiles = "auto"``: each tile needs a detection pass."""


def run_pass(
    detector: FaceDetector, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()
) -> list[Detection]:
    """One detection pass; only for the ``tracked`` faces and ``moved`` parts if there are any and ``detector`` supports
    it."""
    if (tracked or moved) and isinstance(detector, RoiDetector):
        return detector.detect_tracked(image, tracked, moved)
    return detector.detect(image)


class DownscalingDetector:
    """Runs ``detector`` on the image, scaled by ``factor`` (0 to 1)."""

    def __init__(self, detector: FaceDetector, factor: float) -> None:
        self._detector = detector
        self._factor = factor

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        return self.detect_tracked(image, ())

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        """See ``RoiDetector``; searches for all faces if ``tracked`` and ``moved`` are empty."""
        height, width = image.shape[:2]
        small = resize(image, max(1, round(width * self._factor)), max(1, round(height * self._factor)))
        scale_x, scale_y = width / small.shape[1], height / small.shape[0]
        scaled = [[box.scaled(1 / scale_x) for box in boxes] for boxes in (tracked, moved)]
        return [found.mapped(scale_x, scale_y) for found in run_pass(self._detector, small, *scaled)]


class RegionDetector:
    """Runs ``detector`` only on the rectangle ``region``: x, y, width and height as fractions of the image."""

    def __init__(self, detector: FaceDetector, region: tuple[float, float, float, float]) -> None:
        self._detector = detector
        self._region = region

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR. Returns boxes in pixels of the whole image."""
        return self.detect_tracked(image, ())

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        """See ``RoiDetector``; searches for all faces if ``tracked`` and ``moved`` are empty."""
        height, width = image.shape[:2]
        x, y, w, h = self._region
        left, top = min(math.floor(x * width), width - 1), min(math.floor(y * height), height - 1)
        right, bottom = min(math.ceil((x + w) * width), width), min(math.ceil((y + h) * height), height)
        part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
        shifted = [box.moved(-left, -top) for box in tracked]
        inside = [box.moved(-left, -top).clipped(part.shape[1], part.shape[0]) for box in moved]
        inside = [box for box in inside if box.area > 0]
        if moved and not inside and not tracked:
            return []
        return [found.mapped(1, 1, left, top) for found in run_pass(self._detector, part, shifted, inside)]


class TilingDetector:
    """Runs ``detector``, which shrinks every image to ``width_px``, on the whole image and on overlapping tiles.

    ``grid``: columns and rows; ``None`` chooses the columns so that faces of ``min_face_px`` have ``reliable_px``
    after shrinking. If tiles would show no more detail than the whole image, there is only one pass.
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
        """``image``: (H, W, 3) uint8 BGR. Each face is reported once."""
        min_whole_px = self._min_whole_px(image)
        whole = self._detector.detect(image)
        tiles = self.tiles(image.shape[1], image.shape[0])
        if not tiles:
            return whole
        overlap_px = self.overlap_px(image.shape[1])
        passes = []
        for x, y, width, height in tiles:
            detections = self._detector.detect(image[y : y + height, x : x + width])
            mapped = [found.mapped(1, 1, x, y) for found in detections]
            tile = Box(x, y, width, height)
            passes.append([found for found in mapped if _is_whole(found.box, tile, image, overlap_px)])
        # Large faces are taken from the whole image, where no tile cuts them; tiles detect small faces better.
        large = [found for found in whole if found.box.size >= min_whole_px]
        small = [found for found in whole if found.box.size < min_whole_px]
        return merge_passes([large, *passes, small])

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        """See ``RoiDetector``: large tracked faces need no tiles."""
        if not moved and min_tracked_px(tracked) >= self._min_whole_px(image):
            return run_pass(self._detector, image, tracked)
        return self.detect(image)

    def _min_whole_px(self, image: Image) -> float:
        """The smallest face that is detected reliably in the whole image, in its pixels."""
        return self._reliable_px * int(image.shape[1]) / self._width_px

    def overlap_px(self, width: int) -> int:
        """Overlap of neighbouring tiles in an image of ``width`` px, in pixels."""
        return math.ceil(OVERLAP * self._reliable_px * width / self._width_px)

    def tiles(self, width: int, height: int) -> list[tuple[int, int, int, int]]:
        """Returns x, y, width, height of each tile, in pixels, all of one size; ``[]`` if tiles show no more detail."""
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
        max_tile_px = self._width_px * self._min_face_px / self._reliable_px
        if max_tile_px >= width:
            return 1
        return min(math.ceil((width - overlap_px) / max(max_tile_px - overlap_px, 1.0)), MAX_COLUMNS)


def _is_whole(box: Box, tile: Box, image: Image, overlap_px: int) -> bool:
    """Whether ``box``, detected in ``tile``, shows a whole face.

    It must not be near an inner edge of the tile, and be so small that at least one tile shows all of it.
    """
    longer = max(box.width, box.height)
    min_distance = CUT_SHARE * longer
    is_cut = (
        (tile.x > 0 and box.x - tile.x < min_distance)
        or (tile.y > 0 and box.y - tile.y < min_distance)
        or (tile.x2 < image.shape[1] and tile.x2 - box.x2 < min_distance)
        or (tile.y2 < image.shape[0] and tile.y2 - box.y2 < min_distance)
    )
    return not is_cut and longer * (1 + 2 * CUT_SHARE) <= overlap_px


def _tile_px(side: int, count: int, overlap_px: int) -> int:
    """The side of ``count`` equal tiles that cover ``side`` px and overlap by at least ``overlap_px``."""
    return min(math.ceil((side + (count - 1) * overlap_px) / count), side)


def _starts(side: int, count: int, tile_px: int) -> list[int]:
    """Start positions of ``count`` tiles of ``tile_px`` along ``side``, in pixels, without duplicates."""
    if tile_px >= side:
        return [0]
    return [round(i * (side - tile_px) / (count - 1)) for i in range(count)]

"""Downscaling, tiles and regions, with a fake detector that detects bright rectangles, and with the real ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np
import pytest

from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.detector_loader import RELIABLE_PX, load_detector, wrap_detector
from app.vision.nms import merge_passes, same_face
from app.vision.roi import min_tracked_px
from app.vision.tiling import DownscalingDetector, RegionDetector, TilingDetector


@dataclass
class Squares:
    """Detects bright rectangles of at least ``least_px`` after shrinking to ``width_px``. ``shown``: input sizes."""

    width_px: int = 4096
    least_px: int = 1
    shown: list[tuple[int, int]] = field(default_factory=list)

    def detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        self.shown.append((width, height))
        scale = max(width / self.width_px, 1.0)
        small = cv2.resize(image, (round(width / scale), round(height / scale)), interpolation=cv2.INTER_AREA)
        bright = (small[..., 0] > 127).astype(np.uint8)
        detections = []
        for x, y, w, h, _ in cv2.connectedComponentsWithStats(bright)[2][1:].tolist():
            if min(w, h) >= self.least_px:
                detections.append(Detection(Box(x, y, w, h).scaled(scale), 0.9, ((x * scale, y * scale),)))
        return detections


def scene(width: int, height: int, *boxes: Box) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    for box in boxes:
        image[round(box.y) : round(box.y2), round(box.x) : round(box.x2)] = 255
    return image


def tiling(squares: Squares, grid: tuple[int, int] | None, min_face_px: int = 30) -> TilingDetector:
    return TilingDetector(squares, grid, width_px=640, reliable_px=20, min_face_px=min_face_px)


def agrees(detections: list[Detection], boxes: list[Box]) -> bool:
    """Whether each box was detected once, without false positives."""
    remaining = list(boxes)
    for found in detections:
        match = next((box for box in remaining if box.iou(found.box) > 0.8), None)
        if match is None:
            return False
        remaining.remove(match)
    return not remaining


def test_only_the_region_is_searched() -> None:
    squares = Squares()
    inside, outside = Box(500, 300, 40, 50), Box(10, 10, 40, 40)
    detector = RegionDetector(squares, (0.25, 0.5, 0.5, 0.5))
    (found,) = detector.detect(scene(1000, 600, inside, outside))
    assert squares.shown == [(500, 300)]
    assert found.box == inside
    assert found.landmarks == ((500, 300),)


@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (0.999, 0.999, 0.001, 0.001), (0.0, 0.0, 1e-9, 1e-9)])
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 700, 3), (480, 640, 3)])
def test_a_region_has_at_least_one_pixel(region: tuple[float, float, float, float], shape: tuple[int, ...]) -> None:
    squares = Squares()
    assert RegionDetector(squares, region).detect(np.zeros(shape, np.uint8)) == []
    assert all(width >= 1 and height >= 1 for width, height in squares.shown)


def test_downscaling_maps_each_axis_back() -> None:
    squares, box = Squares(), Box(300, 200, 80, 120)
    (found,) = DownscalingDetector(squares, 0.3).detect(scene(1001, 751, box))
    assert squares.shown == [(300, 225)]
    assert found.box.iou(box) > 0.9
    assert found.landmarks[0] == pytest.approx((found.box.x, found.box.y))


def test_tiles_detect_small_faces_that_the_whole_image_misses() -> None:
    boxes = [Box(x, y, 26, 30) for x in (5, 600, 900, 1300, 1880) for y in (40, 700)]
    image = scene(1920, 800, *boxes)
    squares = Squares(width_px=640, least_px=12)
    assert squares.detect(image) == []
    assert agrees(tiling(squares, (3, 1)).detect(image), boxes)


@pytest.mark.parametrize("grid", [(2, 1), (3, 2), (5, 3), None])
@pytest.mark.parametrize("side", [30, 70, 150, 500])
def test_a_face_at_any_position_is_detected_once(grid: tuple[int, int] | None, side: int) -> None:
    """Includes faces that only tiles detect and faces that tile edges cut."""
    detector = tiling(Squares(width_px=640, least_px=10), grid)
    for x in range(side % 7, 1920 - side, 71):
        box = Box(x, (x * 7) % (900 - side), side, side)
        found = detector.detect(scene(1920, 900, box))
        assert agrees(found, [box]), (box, found)


def test_tiles_cover_the_image_and_overlap() -> None:
    detector = tiling(Squares(), (4, 3))
    tiles = detector.tiles(2000, 1500)
    assert len(tiles) == 12
    assert len({(width, height) for _, _, width, height in tiles}) == 1
    assert max(x + width for x, _, width, _ in tiles) == 2000
    assert max(y + height for _, y, _, height in tiles) == 1500
    columns = sorted({(x, x + width) for x, _, width, _ in tiles})
    assert all(right - left >= detector.overlap_px(2000) - 1 for (_, right), (left, _) in pairwise(columns))


@pytest.mark.parametrize(("width", "min_face_px", "passes"), [(640, 30, 1), (900, 30, 1), (1920, 30, 4), (1920, 60, 1)])
def test_the_number_of_tiles_follows_from_the_smallest_face(width: int, min_face_px: int, passes: int) -> None:
    squares = Squares(width_px=640)
    detector = tiling(squares, None, min_face_px)
    detector.detect(scene(width, 400))
    assert len(squares.shown) == passes
    for tile_width, _ in squares.shown[1:]:
        assert min_face_px * 640 / tile_width >= 20


def test_tiles_without_more_detail_are_not_searched() -> None:
    squares = Squares(width_px=640)
    tiling(squares, (3, 1)).detect(scene(600, 400))
    assert squares.shown == [(600, 400)]
    tiling(Squares(), None, min_face_px=8).detect(scene(20_000, 40))  # the number of columns is limited


def test_neighbours_are_two_faces_and_a_part_is_the_same_face() -> None:
    face = Box(100, 100, 50, 60)
    assert same_face(face, face.moved(8, 0))
    assert same_face(face, Box(110, 110, 20, 30))
    assert not same_face(face, face.moved(45, 0))
    assert not same_face(face, face.moved(200, 0))
    one, two = Detection(face, 0.5), Detection(face.moved(10, 0), 0.9)
    assert merge_passes([[one, two]]) == [one, two]
    assert merge_passes([[one], [two]]) == [one]


def made(**given: object) -> tuple[object, Squares]:
    """The detector for these settings, and its innermost detector."""
    loaded: list[Squares] = []

    def load(settings: DetectorSettings) -> Squares:
        loaded.append(Squares(settings.width_px, settings.least_px))
        return loaded[0]

    detector = wrap_detector(DetectorSettings.model_validate(given), load)
    return detector, loaded[0]


@pytest.mark.parametrize("kind", ["haar", "cnn"])
def test_the_smallest_face_sets_the_working_width(kind: str) -> None:
    detector, inner = made(kind=kind, min_face_px="100px")
    assert isinstance(detector, DownscalingDetector)
    reliable_px = RELIABLE_PX[kind]
    assert inner.least_px == round(0.8 * reliable_px)
    large, small = Box(50, 50, 102, 102), Box(900, 50, 60, 60)
    (found,) = detector.detect(scene(2500, 1000, large, small))
    assert found.box.iou(large) > 0.8
    assert inner.shown == [(round(25 * reliable_px), round(10 * reliable_px))]


def test_explicit_settings_override_the_smallest_face() -> None:
    for given, least_px in (({"working_width_px": 320}, 100), ({"tiles": "2x1"}, 100), ({"tiles": "auto"}, 80)):
        detector, inner = made(min_face_px=100, **given)
        assert not isinstance(detector, DownscalingDetector)
        assert (inner.width_px, inner.least_px) == (given.get("working_width_px", 640), least_px)
    detector, inner = made()
    assert isinstance(detector, Squares)
    assert (inner.width_px, inner.least_px) == (640, 30)
    assert isinstance(made(min_face_px=10)[0], Squares)  # images are never enlarged


def test_tiles_are_inside_the_region() -> None:
    detector, squares = made(region=(0.0, 0.5, 1.0, 0.5), tiles="2x1", min_face_px=8)
    box = Box(900, 700, 30, 30)
    assert isinstance(detector, RegionDetector)
    assert agrees(detector.detect(scene(1900, 1000, box, Box(20, 20, 90, 90))), [box])
    assert squares.shown[0] == (1900, 500)
    assert len(squares.shown) == 3


@dataclass
class TrackedSquares(Squares):
    """A detector for tracked faces; ``tracked`` and ``moved`` list the boxes that it got."""

    tracked: list[Box] = field(default_factory=list)
    moved: list[Box] = field(default_factory=list)

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        self.tracked += tracked
        self.moved += moved
        return [found for found in self.detect(image) if moved or found.box.size >= min_tracked_px(tracked)]


def test_wrappers_pass_on_tracked_faces() -> None:
    box = Box(300, 300, 200, 200)
    image = scene(1920, 960, box, Box(900, 300, 30, 30))
    inner = TrackedSquares()
    detector = RegionDetector(DownscalingDetector(inner, 0.5), (0.125, 0.25, 0.875, 0.75))
    assert agrees(detector.detect_tracked(image, [box]), [box])
    assert inner.tracked == [Box((300 - 240) / 2, (300 - 240) / 2, 100, 100)]
    inner = TrackedSquares(width_px=640, least_px=5)
    tiles = tiling(inner, (3, 1))  # type: ignore[arg-type]
    assert agrees(tiles.detect_tracked(image, [box]), [box])
    assert len(inner.shown) == 1
    assert len(tiles.detect_tracked(image, [Box(0, 0, 30, 30)])) == 2  # too small for the whole image
    assert len(inner.shown) == 1 + 4
    plain = RegionDetector(Squares(), (0.0, 0.0, 1.0, 1.0))
    assert len(plain.detect_tracked(image, [box])) == 2  # its detector always searches for all faces


def test_wrappers_pass_on_what_moved() -> None:
    box, outside = Box(300, 300, 200, 200), Box(0, 0, 100, 100)
    image = scene(1920, 960, box)
    inner = TrackedSquares()
    detector = RegionDetector(DownscalingDetector(inner, 0.5), (0.125, 0.25, 0.875, 0.75))
    assert agrees(detector.detect_tracked(image, [], [box, outside]), [box])
    assert inner.moved == [Box((300 - 240) / 2, (300 - 240) / 2, 100, 100)]
    assert detector.detect_tracked(image, [], [outside]) == []
    assert len(inner.moved) == 1  # nothing moved in the region
    tiles = tiling(inner, (3, 1))  # type: ignore[arg-type]
    assert agrees(tiles.detect_tracked(image, [], [box]), [box])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_face_px": "40cm"}, "40cm.*pixels"),
        ({"min_face_px": "4"}, "greater than or equal to 8"),
        ({"working_width_px": "9999px"}, "less than or equal to 4096"),
        ({"tiles": "1x2"}, "columns"),
        ({"tiles": "many"}, "columns"),
        ({"region": "0,0,1"}, "four numbers"),
        ({"region": "0,0,0,1"}, "must be inside the"),
        ({"region": [0.5, 0, 0.6, 1]}, "must be inside the"),
        ({"region": "nan,0,1,1"}, "must be inside the"),
    ],
)
def test_invalid_settings_are_rejected(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectorSettings.model_validate(given)


@pytest.mark.parametrize("given", [{"min_face_px": "40px"}, {"min_face_px": " 40 "}, {"region": " 0, 0.5,1 ,0.5"}])
def test_settings_accept_units_and_spaces(given: dict[str, object]) -> None:
    settings = DetectorSettings.model_validate(given)
    assert settings.least_px == 40 or settings.region == (0, 0.5, 1, 0.5)


def test_tiles_detect_the_faces_of_the_demo_in_a_wide_image() -> None:
    """The demo frame eight times side by side, in an image that the working width would shrink to a quarter."""
    from test_detector import centres, demo_frame

    image = cv2.resize(demo_frame(), (320, 240), interpolation=cv2.INTER_AREA)
    wide = np.ascontiguousarray(np.tile(image, (1, 8, 1)))
    detector = load_detector(DetectorSettings(tiles="4x1", min_face_px=16))
    found = centres(detector, wide)  # type: ignore[arg-type]
    for copy in range(8):
        for x, y in ((105, 97), (272, 82)):
            assert sum(abs(fx - x - 320 * copy) < 20 and abs(fy - y) < 20 for fx, fy in found) == 1

"""Where and how closely detectors look: one that finds bright squares and notes what it was shown, and ours."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np
import pytest

from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.detector_loader import load_detector
from app.vision.nms import merge_passes, same_face
from app.vision.roi import min_kept_px
from app.vision.tiling import RELIABLE_PX, DownscalingDetector, RegionDetector, TilingDetector, wrap_detector


@dataclass
class Squares:
    """Finds bright rectangles of at least ``least_px`` after shrinking to ``width_px``, and notes what it was shown."""

    width_px: int = 4096
    least_px: int = 1
    shown: list[tuple[int, int]] = field(default_factory=list)

    def detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        self.shown.append((width, height))
        scale = max(width / self.width_px, 1.0)
        small = cv2.resize(image, (round(width / scale), round(height / scale)), interpolation=cv2.INTER_AREA)
        bright = (small[..., 0] > 127).astype(np.uint8)
        found = []
        for x, y, w, h, _ in cv2.connectedComponentsWithStats(bright)[2][1:].tolist():
            if min(w, h) >= self.least_px:
                found.append(Detection(Box(x, y, w, h).scaled(scale), 0.9, ((x * scale, y * scale),)))
        return found


def scene(width: int, height: int, *boxes: Box) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    for box in boxes:
        image[round(box.y) : round(box.y2), round(box.x) : round(box.x2)] = 255
    return image


def tiling(squares: Squares, grid: tuple[int, int] | None, min_face_px: int = 30) -> TilingDetector:
    return TilingDetector(squares, grid, width_px=640, reliable_px=20, min_face_px=min_face_px)


def agrees(found: list[Detection], boxes: list[Box]) -> bool:
    """Whether each box was found once, and nothing else."""
    left = list(boxes)
    for one in found:
        hit = next((box for box in left if box.iou(one.box) > 0.8), None)
        if hit is None:
            return False
        left.remove(hit)
    return not left


def test_a_region_is_all_that_is_searched() -> None:
    squares = Squares()
    inside, outside = Box(500, 300, 40, 50), Box(10, 10, 40, 40)
    detector = RegionDetector(squares, (0.25, 0.5, 0.5, 0.5))
    (found,) = detector.detect(scene(1000, 600, inside, outside))
    assert squares.shown == [(500, 300)]
    assert found.box == inside
    assert found.landmarks == ((500, 300),)


@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (0.999, 0.999, 0.001, 0.001), (0.0, 0.0, 1e-9, 1e-9)])
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 700, 3), (480, 640, 3)])
def test_regions_of_any_picture_hold_a_pixel(region: tuple[float, float, float, float], shape: tuple[int, ...]) -> None:
    squares = Squares()
    assert RegionDetector(squares, region).detect(np.zeros(shape, np.uint8)) == []
    assert all(width >= 1 and height >= 1 for width, height in squares.shown)


def test_shrinking_maps_each_axis_back() -> None:
    squares, box = Squares(), Box(300, 200, 80, 120)
    (found,) = DownscalingDetector(squares, 0.3).detect(scene(1001, 751, box))
    assert squares.shown == [(300, 225)]
    assert found.box.iou(box) > 0.9
    assert found.landmarks[0] == pytest.approx((found.box.x, found.box.y))


def test_tiles_show_small_faces_that_the_whole_picture_does_not() -> None:
    boxes = [Box(x, y, 26, 30) for x in (5, 600, 900, 1300, 1880) for y in (40, 700)]
    image = scene(1920, 800, *boxes)
    squares = Squares(width_px=640, least_px=12)
    assert squares.detect(image) == []
    assert agrees(tiling(squares, (3, 1)).detect(image), boxes)


@pytest.mark.parametrize("grid", [(2, 1), (3, 2), (5, 3), None])
@pytest.mark.parametrize("side", [30, 70, 150, 500])
def test_a_face_at_any_place_is_found_once(grid: tuple[int, int] | None, side: int) -> None:
    """Seams included: one size that only tiles show, others that tiles cut."""
    detector = tiling(Squares(width_px=640, least_px=10), grid)
    for x in range(side % 7, 1920 - side, 71):
        box = Box(x, (x * 7) % (900 - side), side, side)
        found = detector.detect(scene(1920, 900, box))
        assert agrees(found, [box]), (box, found)


def test_every_pixel_lies_in_a_tile_and_every_seam_is_covered() -> None:
    detector = tiling(Squares(), (4, 3))
    tiles = detector.tiles(2000, 1500)
    assert len(tiles) == 12
    assert len({(width, height) for _, _, width, height in tiles}) == 1
    assert max(x + width for x, _, width, _ in tiles) == 2000
    assert max(y + height for _, y, _, height in tiles) == 1500
    columns = sorted({(x, x + width) for x, _, width, _ in tiles})
    assert all(right - left >= detector.overlap_px(2000) - 1 for (_, right), (left, _) in pairwise(columns))


@pytest.mark.parametrize(("width", "min_face_px", "looks"), [(640, 30, 1), (900, 30, 1), (1920, 30, 4), (1920, 60, 1)])
def test_as_many_tiles_as_the_wanted_face_needs(width: int, min_face_px: int, looks: int) -> None:
    squares = Squares(width_px=640)
    detector = tiling(squares, None, min_face_px)
    detector.detect(scene(width, 400))
    assert len(squares.shown) == looks
    for tile_width, _ in squares.shown[1:]:
        assert min_face_px * 640 / tile_width >= 20


def test_tiles_that_show_no_more_than_the_whole_are_not_looked_at() -> None:
    squares = Squares(width_px=640)
    tiling(squares, (3, 1)).detect(scene(600, 400))
    assert squares.shown == [(600, 400)]
    tiling(Squares(), None, min_face_px=8).detect(scene(20_000, 40))  # bounded, however wide


def test_neighbours_are_two_faces_and_parts_are_none() -> None:
    face = Box(100, 100, 50, 60)
    assert same_face(face, face.moved(8, 0))
    assert same_face(face, Box(110, 110, 20, 30))
    assert not same_face(face, face.moved(45, 0))
    assert not same_face(face, face.moved(200, 0))
    one, two = Detection(face, 0.5), Detection(face.moved(10, 0), 0.9)
    assert merge_passes([[one, two]]) == [one, two]
    assert merge_passes([[one], [two]]) == [one]


def made(**given: object) -> tuple[object, DetectorSettings]:
    """The detector of these settings, and the settings that its inner one was made of."""
    asked: list[DetectorSettings] = []

    def load(settings: DetectorSettings) -> Squares:
        asked.append(settings)
        return Squares(settings.width_px, settings.least_px)

    detector = wrap_detector(DetectorSettings.model_validate(given), load)
    return detector, asked[0]


@pytest.mark.parametrize("kind", ["haar", "cnn"])
def test_the_wanted_face_chooses_the_working_width(kind: str) -> None:
    detector, inner = made(kind=kind, min_face_px="100px")
    assert isinstance(detector, DownscalingDetector)
    reliable_px = RELIABLE_PX[kind]
    assert inner.least_px == round(0.8 * reliable_px)
    large, small = Box(50, 50, 102, 102), Box(900, 50, 60, 60)
    (found,) = detector.detect(scene(2500, 1000, large, small))
    assert found.box.iou(large) > 0.8
    assert detector._detector.shown == [(round(25 * reliable_px), round(10 * reliable_px))]  # type: ignore[attr-defined]


def test_what_is_explicit_wins_over_the_wanted_face() -> None:
    for given, least_px in (({"working_width_px": 320}, 100), ({"tiles": "2x1"}, 100), ({"tiles": "auto"}, 80)):
        detector, inner = made(min_face_px=100, **given)
        assert not isinstance(detector, DownscalingDetector)
        assert (inner.width_px, inner.least_px) == (given.get("working_width_px", 640), least_px)
    detector, inner = made()
    assert isinstance(detector, Squares)
    assert (inner.width_px, inner.least_px) == (640, 30)
    assert isinstance(made(min_face_px=10)[0], Squares)  # nothing is ever enlarged


def test_region_holds_the_tiles_and_those_the_detector() -> None:
    detector, _ = made(region=(0.0, 0.5, 1.0, 0.5), tiles="2x1", min_face_px=8)
    box = Box(900, 700, 30, 30)
    assert isinstance(detector, RegionDetector)
    assert agrees(detector.detect(scene(1900, 1000, box, Box(20, 20, 90, 90))), [box])
    squares = detector._detector._detector  # type: ignore[attr-defined]
    assert squares.shown[0] == (1900, 500)
    assert len(squares.shown) == 3


@dataclass
class QuickSquares(Squares):
    """Is asked for faces like known ones, and notes which."""

    known: list[Box] = field(default_factory=list)

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        self.known += known
        return [one for one in self.detect(image) if one.box.size >= min_kept_px(known)]


def test_quick_looks_for_known_faces_go_through() -> None:
    box = Box(300, 300, 200, 200)
    picture = scene(1920, 960, box, Box(900, 300, 30, 30))
    quick = QuickSquares()
    detector = RegionDetector(DownscalingDetector(quick, 0.5), (0.125, 0.25, 0.875, 0.75))
    assert agrees(detector.detect_tracked(picture, [box]), [box])
    assert quick.known == [Box((300 - 240) / 2, (300 - 240) / 2, 100, 100)]
    quick = QuickSquares(width_px=640, least_px=5)
    tiles = tiling(quick, (3, 1))  # type: ignore[arg-type]
    assert agrees(tiles.detect_tracked(picture, [box]), [box])
    assert len(quick.shown) == 1
    assert (
        len(tiles.detect_tracked(picture, [Box(0, 0, 30, 30)])) == 2
    )  # smaller than what the whole picture shows well
    assert len(quick.shown) == 1 + 4
    assert len(RegionDetector(Squares(), (0.0, 0.0, 1.0, 1.0)).detect_tracked(picture, [box])) == 2  # may find more


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_face_px": "40cm"}, "no number of pixels"),
        ({"min_face_px": "4"}, "greater than or equal to 8"),
        ({"working_width_px": "9999px"}, "less than or equal to 4096"),
        ({"tiles": "1x2"}, "columns"),
        ({"tiles": "many"}, "columns"),
        ({"region": "0,0,1"}, "four numbers"),
        ({"region": "0,0,0,1"}, "inside the picture"),
        ({"region": [0.5, 0, 0.6, 1]}, "inside the picture"),
        ({"region": "nan,0,1,1"}, "inside the picture"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectorSettings.model_validate(given)


@pytest.mark.parametrize("given", [{"min_face_px": "40px"}, {"min_face_px": " 40 "}, {"region": " 0, 0.5,1 ,0.5"}])
def test_settings_as_people_write_them(given: dict[str, object]) -> None:
    settings = DetectorSettings.model_validate(given)
    assert settings.least_px == 40 or settings.region == (0, 0.5, 1, 0.5)


def test_the_same_faces_by_tiles_in_a_wide_picture_of_the_demo() -> None:
    """The demo's two faces, four times side by side, in a picture that the working width would shrink to a quarter."""
    from test_detector import centres, demo_frame

    image = cv2.resize(demo_frame(), (320, 240), interpolation=cv2.INTER_AREA)
    wide = np.ascontiguousarray(np.tile(image, (1, 8, 1)))
    detector = load_detector(DetectorSettings(tiles="4x1", min_face_px=16))
    found = centres(detector, wide)  # type: ignore[arg-type]
    for copy in range(8):
        for x, y in ((105, 97), (272, 82)):
            assert sum(abs(fx - x - 320 * copy) < 20 and abs(fy - y) < 20 for fx, fy in found) == 1

"""The YuNet detector: decoding, NMS, coordinates, and unusable model files."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core import resources
from app.core.cpu import cores_allowed
from app.core.errors import ModelError
from app.core.images import cut, resize, square
from app.core.types import Box, Image
from app.settings.vision import DetectorSettings
from app.vision.detector_loader import shared_detector_loader
from app.vision.litert import MAX_PLANS, LiteRtModel
from app.vision.yunet_detector import (
    BUNDLED,
    CHANNELS,
    MAPS,
    YuNetDetector,
    decode_level,
    load_yunet,
    non_max_suppression,
)

MODEL = resources.model("face_detector.tflite")


def candidate(score: float, x: float, y: float, width: float, height: float) -> list[float]:
    return [score, x, y, width, height, *[0.0] * 10]


@pytest.fixture(scope="module")
def portrait(shared_data: Path) -> Image:
    """An image with one large masked or bare face."""
    tree = json.loads((shared_data / "frames" / "train.json").read_text("utf-8"))
    for entry in tree["images"]:
        faces = [face for face in tree["annotations"] if face["image_id"] == entry["id"]]
        if len(faces) == 1 and 60 < min(faces[0]["bbox"][2:]) < 160 and entry["width"] >= 400:
            image = cv2.imread(str(shared_data / "frames" / entry["file_name"]))
            assert image is not None
            return image  # type: ignore[return-value]
    raise AssertionError("no portrait among the training images")


def maps_of(rows: int, columns: int) -> list[np.ndarray]:  # type: ignore[type-arg]
    """The four maps of a stride without a face."""
    return [np.full((rows, columns, channels), -9.0, np.float32) for channels in MAPS]


def test_a_cell_is_decoded_to_a_box_and_landmarks_in_pixels() -> None:
    maps = maps_of(3, 4)
    for place, values in enumerate(([2.0], [1.0], [0.25, -0.5, np.log(3.0), np.log(4.0)], np.arange(10) / 10)):
        maps[place][1, 2] = values
    (row,) = decode_level(maps, stride=8, score=0.5)
    assert row[0] == pytest.approx(np.sqrt(1 / (1 + np.exp(-2.0)) / (1 + np.exp(-1.0))))
    center = np.array([2 + 0.25, 1 - 0.5]) * 8  # from the cell's corner, as in YuNet
    assert row[1:5] == pytest.approx([center[0] - 12, center[1] - 16, 24, 32])
    assert row[5:].reshape(5, 2) == pytest.approx((np.array([2, 1]) + np.arange(10).reshape(5, 2) / 10) * 8)


@pytest.mark.parametrize(("score", "count"), [(0.0, 2), (0.3, 1), (0.9, 0), (1.0, 0)])
def test_only_cells_with_the_minimum_score_are_decoded(score: float, count: int) -> None:
    maps = maps_of(1, 2)
    maps[0][0, :, 0] = maps[1][0, :, 0] = [0.0, -3.0]
    assert len(decode_level(maps, stride=16, score=score)) == count


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_scores_of_extreme_logits_are_finite(logit: float) -> None:
    maps = maps_of(1, 1)
    maps[0][:], maps[1][:] = logit, logit
    assert decode_level(maps, stride=8, score=0.0)[:, 0].tolist() == [float(logit > 0)]


@pytest.mark.parametrize("file", BUNDLED.values())
def test_it_detects_the_faces_that_the_published_network_detects(shared_data: Path, file: str) -> None:
    """OpenCV runs the original file of the weights; int8 arithmetic moves a box by a few per cent."""
    published = shared_data / "models" / "yunet_n_320_320.onnx"
    detector = YuNetDetector(resources.model(file), score=0.7, working_width_px=4096)
    seen = 0
    for path in sorted((shared_data / "frames" / "train").glob("*.jpg"))[:40:4]:
        image = cv2.imread(str(path))
        assert image is not None
        reference = cv2.FaceDetectorYN.create(str(published), "", image.shape[1::-1], 0.8, 0.3)
        rows = reference.detect(image)[1]
        found = detector.detect(image)  # type: ignore[arg-type]
        for row in rows if rows is not None else ():
            x, y, width, height, *points = (float(value) for value in row[:14])
            if min(width, height) < 16:
                continue
            nearest = max(found, key=lambda one: one.box.iou(Box(x, y, width, height)))
            assert nearest.box.iou(Box(x, y, width, height)) > 0.75
            assert np.ravel(nearest.landmarks) == pytest.approx(points, abs=0.15 * max(width, height))
            seen += 1
    assert seen >= 10


def test_nms_keeps_the_best_of_overlapping_boxes_and_all_others() -> None:
    rows = [candidate(0.6, 0, 0, 20, 20), candidate(0.9, 1, 1, 20, 20), candidate(0.5, 60, 0, 20, 20)]
    kept = non_max_suppression(np.array(rows, np.float32), nms_iou=0.4)
    assert kept[:, 0] == pytest.approx([0.9, 0.5])


def test_nms_drops_a_part_of_a_face_but_not_a_small_face_with_a_higher_score() -> None:
    whole, part, beside = candidate(0.9, 0, 0, 200, 200), candidate(0.5, 60, 70, 80, 80), candidate(0.5, 150, 0, 80, 80)
    kept = non_max_suppression(np.array([part, whole, beside], np.float32), nms_iou=0.4)
    assert len(kept) == 2  # 63 % of ``beside`` lies inside ``whole``
    front = candidate(0.95, 60, 70, 80, 80)
    assert len(non_max_suppression(np.array([whole, front], np.float32), nms_iou=0.4)) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_nms_of_no_or_one_box(count: int) -> None:
    rows = np.array([candidate(0.6, 0, 0, 20, 20)] * count, np.float32).reshape(count, CHANNELS)
    assert non_max_suppression(rows, nms_iou=0.4).shape == (count, CHANNELS)


def test_missing_damaged_and_foreign_files_raise_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model file"):
        YuNetDetector(tmp_path / "none.tflite")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(MODEL.read_bytes()[: MODEL.stat().st_size // 2])
    with pytest.raises(ModelError, match="damaged"):
        YuNetDetector(broken)
    with pytest.raises(ModelError, match="not a detector"):
        YuNetDetector(resources.model("paper/model_6.tflite"))


def test_metadata_with_a_damaged_network_raises_an_error(tmp_path: Path) -> None:
    from app.vision.model_metadata import read_detector_metadata, write_metadata

    fake = tmp_path / "fake.tflite"
    fake.write_bytes(b"TFL3" * 40)
    write_metadata(fake, read_detector_metadata(MODEL))
    with pytest.raises(ModelError, match="damaged"):
        YuNetDetector(fake)


@pytest.mark.parametrize("shape", [(1, 1), (31, 33), (240, 320), (375, 500), (700, 90)])
def test_frames_of_any_size_without_a_face_have_no_detections(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 90, np.uint8)
    assert YuNetDetector(MODEL, score=0.5).detect(image) == []


def test_the_frame_is_not_modified(portrait: Image) -> None:
    before = portrait.copy()
    assert YuNetDetector(MODEL).detect(portrait)
    assert np.array_equal(before, portrait)


def best_box(detector: YuNetDetector, image: Image) -> Box:
    return max(detector.detect(image), key=lambda found: found.score).box


@pytest.mark.parametrize("factor", [2, 3])
def test_boxes_of_shrunk_frames_are_in_source_pixels(portrait: Image, factor: int) -> None:
    width = portrait.shape[1]
    small = best_box(YuNetDetector(MODEL, working_width_px=width), portrait)
    large = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = best_box(YuNetDetector(MODEL, working_width_px=width), large)  # type: ignore[arg-type]
    assert found.iou(small.scaled(factor)) > 0.9


def test_padding_below_and_right_does_not_move_boxes(portrait: Image) -> None:
    height, width = portrait.shape[0] // 32 * 32, portrait.shape[1] // 32 * 32
    whole = np.ascontiguousarray(portrait[:height, :width])
    padded = cv2.copyMakeBorder(whole, 0, 5, 0, 9, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    detector = YuNetDetector(MODEL, working_width_px=4096)
    assert best_box(detector, padded).iou(best_box(detector, whole)) > 0.9  # type: ignore[arg-type]


def test_a_face_that_fills_a_large_image_is_detected(portrait: Image) -> None:
    detector = YuNetDetector(MODEL, working_width_px=4096)
    close = best_box(detector, portrait)
    x, y = max(int(close.x - 0.2 * close.width), 0), max(int(close.y - 0.2 * close.height), 0)
    part = portrait[y : int(close.y2 + 0.2 * close.height), x : int(close.x2 + 0.2 * close.width)]
    factor = 700 / max(part.shape[:2])
    filling = cv2.resize(np.ascontiguousarray(part), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    assert best_box(detector, filling).iou(close.moved(-x, -y).scaled(factor)) > 0.6  # type: ignore[arg-type]


def test_boxes_are_inside_the_image_and_small_faces_can_be_omitted(portrait: Image) -> None:
    found = YuNetDetector(MODEL, score=0.05).detect(portrait)
    height, width = portrait.shape[:2]
    assert all(0 <= one.box.x <= one.box.x2 <= width and 0 <= one.box.y <= one.box.y2 <= height for one in found)
    assert all(0.05 <= one.score <= 1 for one in found)
    large = YuNetDetector(MODEL, score=0.05, min_face_px=60).detect(portrait)
    assert 0 < len(large) == sum(one.box.size >= 60 for one in found)


def test_landmarks_lie_on_the_face_with_eyes_above_mouth(portrait: Image) -> None:
    detector = YuNetDetector(MODEL)
    found = max(detector.detect(portrait), key=lambda one: one.score)
    right_eye, left_eye, _, right_mouth, left_mouth = found.landmarks
    assert right_eye[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < min(right_mouth[1], left_mouth[1])
    assert all(found.box.x < x < found.box.x2 and found.box.y < y < found.box.y2 for x, y in found.landmarks)


def test_the_number_of_plans_is_limited() -> None:
    detector = YuNetDetector(MODEL)
    for side in range(32, 32 * 16, 32):
        detector.detect(np.zeros((side, side, 3), np.uint8))
    assert len(detector.network.shapes) <= MAX_PLANS


def test_detectors_of_several_threads_share_their_plans(portrait: Image) -> None:
    load = shared_detector_loader()
    expected = YuNetDetector(MODEL).detect(portrait)
    detectors = [load(DetectorSettings(threads=1, working_width_px=640)) for _ in range(6)]
    with ThreadPoolExecutor(len(detectors)) as pool:
        found = list(pool.map(lambda detector: detector.detect(portrait), [*detectors, *detectors]))
    assert expected
    assert all(each == expected for each in found)
    network = detectors[0].network  # type: ignore[attr-defined]
    assert all(each.network is network for each in detectors)  # type: ignore[attr-defined]
    assert len(network.shapes) <= 2 * cores_allowed()  # two passes over a frame


def test_an_inference_that_hangs_holds_up_no_other_one(portrait: Image) -> None:
    """Only the first one after it waits, until it is clear that it hangs."""
    network = LiteRtModel(MODEL, 1, longest_s=0.3)
    with network.plan(1, 64, 64, 3):
        assert YuNetDetector(MODEL, open_model=lambda *_: network).detect(portrait)
        start_s = time.monotonic()
        for _ in range(4):
            with network.plan(1, 32, 32, 3):
                pass
        assert time.monotonic() - start_s < 0.9  # four waits would last 1.2 s


def test_inferences_at_the_same_time_keep_their_plans() -> None:
    """Regression: 12 plans were kept for all, so with many cores each inference made a new one."""
    network = LiteRtModel(MODEL, 1, at_once=4)
    for side in (32, 64, 96, 128, 160):
        with ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(network.plan(1, side, side, 3))
    assert len(network.shapes) == 20 > MAX_PLANS


def test_settings_select_the_file_and_the_score(tmp_path: Path) -> None:
    own = tmp_path / "own.tflite"
    shutil.copy(MODEL, own)
    settings = DetectorSettings(kind="cnn", model=own, score=1.0, min_face_px=8)
    assert load_yunet(settings).detect(np.zeros((64, 64, 3), np.uint8)) == []
    assert load_yunet(DetectorSettings(kind="cnn")).metadata.strides == (8, 16, 32)


@pytest.mark.parametrize("side", [80, 120, 160])
@pytest.mark.parametrize("at", [(0, 0), (750, 60), (400, 330)])
def test_a_tracked_face_is_detected_again_with_fewer_pixels(portrait: Image, side: int, at: tuple[int, int]) -> None:
    """At any position and size, even if it moved by half its size."""
    detector = YuNetDetector(MODEL)
    head = max(detector.detect(portrait), key=lambda found: found.score).box
    factor = side / head.size
    face = cut(portrait, square(head, 1.5))  # with its surroundings, which the network needs
    face = resize(face, round(face.shape[1] * factor), round(face.shape[0] * factor))
    image = np.full((720, 1280, 3), 90, np.uint8)
    x, y = at
    image[y : y + face.shape[0], x : x + face.shape[1]] = face[: 720 - y, : 1280 - x]
    best = max(detector.detect(image), key=lambda found: found.score)
    searched_px: list[int] = []
    run_pass = detector.run_pass
    detector.run_pass = lambda part: (searched_px.append(part.shape[0] * part.shape[1]), run_pass(part))[1]  # type: ignore[assignment, func-returns-value]
    detections = detector.detect_tracked(image, [best.box.moved(0.5 * best.box.size, 0)])
    again = max(detections, key=lambda found: found.box.iou(best.box))
    assert again.box.iou(best.box) > 0.5
    nose_x, nose_y = again.landmarks[2]
    assert again.box.x < nose_x < again.box.x2
    assert again.box.y < nose_y < again.box.y2
    assert sum(searched_px) <= 0.6 * 640 * 360
    searched_px.clear()
    detector.detect_tracked(image, [Box(x, 200, 40, 40) for x in (20, 420, 820, 1220)])
    assert max(searched_px) == 640 * 360  # the squares would have more pixels


@pytest.mark.parametrize(("side", "most_px"), [(40, 2 * 192 * 192), (300, 640 * 480 / 4)])
def test_a_new_face_is_detected_where_something_moved(portrait: Image, side: int, most_px: float) -> None:
    """Also one that is much larger than the part that moved."""
    detector = YuNetDetector(MODEL)
    head = max(detector.detect(portrait), key=lambda found: found.score).box
    face = cut(portrait, square(head, 1.0))
    face = resize(face, 2 * side, 2 * side)[:480]
    image = np.full((480, 640, 3), 90, np.uint8)
    image[: face.shape[0], : face.shape[1]] = face[:, :640]
    expected = max(detector.detect(image), key=lambda found: found.score).box
    part = Box(*expected.center, 20, 20)
    searched_px: list[int] = []
    run_pass = detector.run_pass
    detector.run_pass = lambda part: (searched_px.append(part.shape[0] * part.shape[1]), run_pass(part))[1]  # type: ignore[assignment, func-returns-value]
    assert max(found.box.iou(expected) for found in detector.detect_tracked(image, [], [part])) > 0.5
    assert sum(searched_px) < 640 * 480 / 3
    searched_px.clear()
    assert max(found.box.iou(expected) for found in detector.detect_tracked(image, [expected])) > 0.5
    assert sum(searched_px) <= most_px


@pytest.mark.parametrize("side", [60, 120, 300])
def test_a_large_part_that_moved_is_searched_in_the_halved_image(portrait: Image, side: int) -> None:
    detector = YuNetDetector(MODEL)
    head = max(detector.detect(portrait), key=lambda found: found.score).box
    face = resize(cut(portrait, square(head, 1.0)), 2 * side, 2 * side)[:480]
    image = np.full((480, 640, 3), 90, np.uint8)
    image[: face.shape[0], : face.shape[1]] = face[:, :640]
    expected = max(detector.detect(image), key=lambda found: found.score).box
    shapes: list[tuple[int, ...]] = []
    run_pass = detector.run_pass
    detector.run_pass = lambda part: (shapes.append(part.shape[:2]), run_pass(part))[1]  # type: ignore[assignment, func-returns-value]
    found = detector.detect_tracked(image, [], [Box(0, 0, 350, 350)])
    assert max(one.box.iou(expected) for one in found) > 0.5
    assert shapes == [(240, 320)]


def test_an_image_does_not_affect_the_next_one(portrait: Image) -> None:
    """The padding is written again for each image."""
    detector = YuNetDetector(MODEL, min_face_px=1)
    small = np.ascontiguousarray(portrait[:250, :330])
    alone = YuNetDetector(MODEL, min_face_px=1).detect(small)
    detector.detect(np.full((256, 352, 3), 255, np.uint8))
    assert detector.detect(small) == alone

"""Conformance tests of every face detector on real images, and tests of the Haar detector."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Box, Image
from app.settings.vision import DetectorSettings
from app.vision.classifier import LiteRtClassifier
from app.vision.detector import FaceDetector
from app.vision.detector_loader import load_detector
from app.vision.haar_detector import HaarDetector

PROFILE, PROFILE_CENTRE = "ilc2021_00152.jpg", (340, 114)
"""A training image of one person in profile, whom the frontal cascade does not detect."""

KINDS = ["haar", "cnn"]


def demo_frame(index: int = 120) -> Image:
    video = cv2.VideoCapture(str(resources.asset("demo.mp4")))
    video.set(cv2.CAP_PROP_POS_FRAMES, index)
    ok, image = video.read()
    video.release()
    assert ok
    return image  # type: ignore[return-value]


@pytest.fixture(params=KINDS)
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    return load_detector(DetectorSettings(kind=request.param))


def centres(detector: FaceDetector, image: Image) -> list[tuple[float, float]]:
    return sorted(found.box.center for found in detector.detect(image))


def test_the_faces_of_the_demo_are_detected(detector: FaceDetector) -> None:
    found = centres(detector, demo_frame())
    for x, y in ((210, 195), (545, 165)):  # measured in the image: bare on the left, masked on the right
        assert any(abs(fx - x) < 40 and abs(fy - y) < 40 for fx, fy in found), found


def test_boxes_are_in_source_pixels_at_any_image_size(detector: FaceDetector) -> None:
    image = demo_frame()
    # Odd sizes: each axis shrinks by its own factor and must be mapped back with it.
    large = cv2.resize(image, (1917, 1433), interpolation=cv2.INTER_LINEAR)
    expected = [(x * 1917 / 640, y * 1433 / 480) for x, y in centres(detector, image)]
    found = centres(detector, large)  # type: ignore[arg-type]
    matched = [e for e in expected if any(abs(e[0] - f[0]) < 30 and abs(e[1] - f[1]) < 30 for f in found)]
    assert len(matched) >= 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 900, 3), (2, 1300, 3), (900, 2, 3), (25, 25, 3), (480, 641, 3)])
def test_an_empty_image_of_any_shape_has_no_faces(detector: FaceDetector, shape: tuple[int, ...]) -> None:
    assert detector.detect(np.full(shape, 127, np.uint8)) == []


def test_the_image_is_not_modified(detector: FaceDetector) -> None:
    image = demo_frame()
    before = image.copy()
    detector.detect(image)
    assert (image == before).all()


def test_haar_has_the_parameters_of_the_paper_by_default() -> None:
    settings = DetectorSettings(kind="haar")
    assert (settings.scale_factor, settings.min_neighbors) == (1.10, 4)
    image = demo_frame()
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    cascade = cv2.CascadeClassifier(str(resources.asset("haarcascade_frontalface_default.xml")))
    min_px = settings.min_face_px
    expected = cascade.detectMultiScale(grey, scaleFactor=1.10, minNeighbors=4, minSize=(min_px, min_px))
    found = HaarDetector(settings).detect(image)
    assert {(b.x, b.y, b.width, b.height) for b in (f.box for f in found)} == {tuple(map(float, b)) for b in expected}
    assert found


def test_haar_maps_boxes_back_exactly() -> None:
    """In a shrunk frame, each axis has exactly the scale factor of imutils.resize."""
    image = cv2.resize(demo_frame(), (1001, 751))
    found = HaarDetector(DetectorSettings(kind="haar", working_width_px=500)).detect(image)  # type: ignore[arg-type]
    assert found
    for box in (f.box for f in found):
        for side, scale in ((box.x, 1001 / 500), (box.width, 1001 / 500), (box.y, 751 / 375), (box.height, 751 / 375)):
            assert side / scale == pytest.approx(round(side / scale), abs=1e-6)


def test_haar_respects_its_settings() -> None:
    image = demo_frame()
    many = len(HaarDetector(DetectorSettings(kind="haar", min_neighbors=0)).detect(image))
    few = len(HaarDetector(DetectorSettings(kind="haar", min_neighbors=4)).detect(image))
    assert many > few > 0
    assert HaarDetector(DetectorSettings(kind="haar", min_face_px=300)).detect(image) == []
    assert HaarDetector(DetectorSettings(kind="haar", equalize=True)).detect(image)


def test_profile_faces_are_added_to_frontal_faces(shared_data: Path) -> None:
    image = demo_frame()
    frontal = HaarDetector(DetectorSettings(kind="haar")).detect(image)
    both = HaarDetector(DetectorSettings(kind="haar", profile=True)).detect(image)
    assert {found.box for found in frontal} <= {found.box for found in both}  # OpenCV's threads change the order
    face = cv2.imread(str(shared_data / "frames" / "train" / PROFILE))
    assert face is not None
    for image in (face, np.ascontiguousarray(face[:, ::-1])):  # right profile, then left profile
        assert HaarDetector(DetectorSettings(kind="haar")).detect(image) == []  # type: ignore[arg-type]
        (found,) = HaarDetector(DetectorSettings(kind="haar", profile=True)).detect(image)  # type: ignore[arg-type]
        x = PROFILE_CENTRE[0] if image is face else face.shape[1] - PROFILE_CENTRE[0]
        assert found.box.center == pytest.approx((x, PROFILE_CENTRE[1]), abs=15)


def test_a_missing_or_empty_cascade_raises_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.xml"
    empty.write_text("<opencv_storage></opencv_storage>")
    for path in (tmp_path / "none.xml", empty):
        with pytest.raises(ModelError, match=path.name):
            HaarDetector(DetectorSettings(kind="haar", model=path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_model_can_be_in_a_folder_with_a_unicode_name(kind: str, tmp_path: Path) -> None:
    files = {"haar": "haarcascade_frontalface_default.xml", "cnn": "face_detector.tflite"}
    source = resources.asset(files[kind]) if kind == "haar" else resources.model(files[kind])
    moved = tmp_path / "Zoë 面" / source.name
    moved.parent.mkdir()
    moved.write_bytes(source.read_bytes())
    original, copied = (
        centres(load_detector(DetectorSettings(kind=kind, model=path)), demo_frame()) for path in (source, moved)
    )
    assert original == copied != []


@pytest.mark.skipif(not resources.model("classifier.tflite").is_file(), reason="models/classifier.tflite is missing")
def test_a_classifier_can_be_in_a_folder_with_a_unicode_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT must not get a path: on Windows it cannot open every Unicode path."""
    import ai_edge_litert.interpreter as litert

    calls: list[dict[str, object]] = []
    real = litert.Interpreter
    monkeypatch.setattr(litert, "Interpreter", lambda **values: calls.append(values) or real(**values))
    source, moved = resources.model("classifier.tflite"), tmp_path / "Zoë 面" / "classifier.tflite"
    moved.parent.mkdir()
    moved.write_bytes(source.read_bytes())
    one, other = (LiteRtClassifier(path) for path in (source, moved))
    size = one.metadata.input_px
    crops = np.random.default_rng(1).integers(0, 256, (5, size, size, 3)).astype(np.uint8)
    assert (one.classify(crops) == other.classify(crops)).all()
    assert calls
    assert not any("model_path" in values for values in calls)


def test_a_damaged_cascade_with_a_unicode_name_raises_an_error(tmp_path: Path) -> None:
    for content in (b"", b"no cascade", b"<opencv_storage></opencv_storage>", b"\xff\x00"):
        path = tmp_path / "面.xml"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"面\.xml is not a usable cascade"):
            HaarDetector(DetectorSettings(kind="haar", model=path))


def test_settings_choose_the_detector_and_its_precision() -> None:
    assert isinstance(load_detector(DetectorSettings(kind="haar")), HaarDetector)
    image = demo_frame()
    int8, float32 = (load_detector(DetectorSettings(precision=kind)).detect(image) for kind in ("int8", "float32"))
    assert int8 != float32
    for one in int8:
        assert max(one.box.iou(other.box) for other in float32) > 0.8


def test_box_geometry() -> None:
    a, b = Box(0, 0, 10, 10), Box(5, 0, 10, 10)
    assert a.iou(b) == pytest.approx(1 / 3)
    assert a.iou(Box(20, 20, 5, 5)) == 0
    assert Box(-5, -5, 10, 10).clipped(100, 100) == Box(0, 0, 5, 5)
    assert Box(200, 0, 10, 10).clipped(100, 100).area == 0

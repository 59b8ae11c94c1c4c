"""The library's public names: faces of one image in one line, and lazy imports."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import METADATA, BoxesDetector

import app
from app import label_faces, load_settings
from app.capture.image_folder import read_image
from app.core.errors import ModelError
from app.core.types import Box, Detection, Image, Label
from app.pipeline.image_labeler import ImageLabeler, load_labeler
from app.vision.classifier import Crops, Probabilities, decide, weigh_not_face


def test_faces_of_one_image_are_labeled_largest_first(demo_frame: Image) -> None:
    before = demo_frame.copy()
    faces = label_faces(demo_frame)
    assert [face.label.label for face in faces] == [Label.NO_MASK, Label.MASK]
    assert faces[0].box.area > faces[1].box.area
    for face in faces:
        assert face.label.confidence > 0.8
        nose_x, nose_y = face.landmarks[2]
        assert face.box.x < nose_x < face.box.x2
        assert face.box.y < nose_y < face.box.y2
    assert (demo_frame == before).all()


def test_an_image_without_a_face_gives_an_empty_list() -> None:
    assert label_faces(np.full((240, 320, 3), 90, np.uint8)) == []


def test_settings_of_other_parts_do_not_matter(demo_frame: Image) -> None:
    """Also those with tables of any keys."""
    hook = {"kind": "webhook", "name": "desk", "url": "https://desk.example/hook", "headers": {"X-Site": "7"}}
    assert len(label_faces(demo_frame, load_settings(None, {"alerts": {"channels": [hook]}}))) == 2


class RejectsDark:
    """Rejects crops of dark images."""

    metadata = METADATA.model_copy(update={"labels": (*METADATA.labels, Label.NOT_FACE)})

    def classify(self, crops: Crops) -> Probabilities:
        rows = [(0.1, 0.4, 0.05, 0.45) if crop.mean() > 100 else (0.1, 0.35, 0.0, 0.55) for crop in crops]
        return np.array(rows, np.float32)


class BySide:
    """Sees a mask where the left side of a crop is brighter, a bare face where the right one is."""

    metadata = METADATA

    def classify(self, crops: Crops) -> Probabilities:
        middle = crops.shape[2] // 2
        rows = [
            (0.98, 0.01, 0.01) if c[:, :middle].mean() > c[:, middle:].mean() else (0.01, 0.98, 0.01) for c in crops
        ]
        return np.array(rows, np.float32)


def test_a_face_is_seen_from_both_sides() -> None:
    """What the classifier says of a mirrored face counts as much, so a label that depends on the side is none."""
    image = np.zeros((60, 60, 3), np.uint8)
    image[:, :30] = 200
    (face,) = ImageLabeler(BoxesDetector(lambda _: [Box(10, 10, 40, 40)]), BySide()).label(image)
    assert face.label.label is Label.UNSURE
    assert face.label.confidence == pytest.approx(0.495, abs=0.001)


def test_a_detection_that_the_classifier_rejects_is_no_face() -> None:
    """It is rejected when not_face is more probable than all other classes together, even below the minimum size."""
    labeler = ImageLabeler(BoxesDetector(lambda _: [Box(0, 0, 50, 50), Box(50, 0, 49, 50)]), RejectsDark())
    image = np.full((50, 100, 3), 200, np.uint8)
    image[:, :50] = 20
    (face,) = labeler.label(image)
    assert (face.box.x, face.label.label) == (50, Label.UNSURE)
    assert [each.label.label for each in labeler.label_detections(image)] == [Label.NOT_FACE, Label.UNSURE]
    small = ImageLabeler(BoxesDetector(lambda _: [Box(0, 0, 9, 9), Box(60, 0, 8, 8)]), RejectsDark())
    assert [each.label.label for each in small.label_detections(image)] == [Label.NOT_FACE, Label.UNSURE]


@pytest.mark.parametrize(("score", "rejected"), [(0.5, True), (0.99, False)])
def test_scores_of_haar_do_not_count_against_the_classifier(score: float, rejected: bool) -> None:
    """Regression: photos weighed them with the weights of YuNet, so faces were lost and others never rejected."""

    class Scored:
        def detect(self, image: Image) -> list[Detection]:
            return [Detection(Box(0, 0, image.shape[1], image.shape[0]), score)]

    labels = (Label.MASK, Label.NO_MASK, Label.NOT_FACE)
    own = METADATA.model_copy(update={"labels": labels, "candidate_score": 0.4, "face_weights": (1.9, 0.45, -1.4)})

    class Certain:
        metadata = own

        def classify(self, crops: Crops) -> Probabilities:
            return np.tile(np.array([(0.0, 0.95, 0.05) if rejected else (0.0, 0.2, 0.8)], np.float32), (len(crops), 1))

    image = np.full((80, 80, 3), 90, np.uint8)
    (yunet,) = ImageLabeler(Scored(), Certain()).label_detections(image)
    (haar,) = ImageLabeler(Scored(), Certain(), has_yunet_scores=False).label_detections(image)
    assert (yunet.label.label is Label.NOT_FACE) is rejected
    assert (haar.label.label is Label.NOT_FACE) is not rejected
    own_haar = load_labeler(load_settings(None, {"detector": {"kind": "haar"}}))
    assert not own_haar.has_yunet_scores


def test_settings_choose_the_detector(demo_frame: Image) -> None:
    faces = label_faces(demo_frame, load_settings(None, {"detector": {"kind": "haar"}}))
    assert faces
    assert all(face.landmarks == () for face in faces)


def test_a_missing_model_raises(demo_frame: Image) -> None:
    with pytest.raises(ModelError, match="no model file"):
        label_faces(demo_frame, load_settings(None, {"classifier": {"model": "none.tflite"}}))


def test_public_names_resolve_and_others_do_not() -> None:
    assert all(getattr(app, name) is not None for name in app.__all__)
    with pytest.raises(AttributeError, match="no attribute 'label_fases'"):
        _ = app.label_fases


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, app; print([m for m in ('cv2', 'numpy', 'pydantic') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_faces_of_any_size_are_found_unless_the_settings_limit_it(demo_frame: Image) -> None:
    """Regression: a crowd picture gave no face, because only video needs a floor."""
    small = cv2.resize(demo_frame, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    faces = label_faces(small)
    assert len(faces) == 2
    assert max(face.box.size for face in faces) < 30
    assert label_faces(small, load_settings(None, {"detector": {"min_face_px": 30}})) == []


def test_a_crowd_picture_has_many_faces(shared_data: Path) -> None:
    faces = label_faces(read_image(shared_data / "scenes" / "wider" / "val_00004.webp"))
    assert sum(face.box.size < 30 for face in faces) >= 5


def test_a_weak_detection_needs_the_classifier_and_a_strong_one_does_not() -> None:
    labels = (Label.MASK, Label.NO_MASK, Label.NOT_FACE)
    metadata = METADATA.model_copy(update={"labels": labels, "candidate_score": 0.4, "face_weights": (2.0, 1.0, -0.5)})
    rows = np.array([(0.1, 0.8, 0.1), (0.1, 0.3, 0.6), (0.1, 0.3, 0.6), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)], np.float32)
    weighed = weigh_not_face(rows, [0.45, 0.45, 0.95, 0.5, 1.0], metadata)
    assert weighed.sum(axis=1) == pytest.approx(1.0)
    assert [labels[i] for i in weighed.argmax(axis=1)] == [
        Label.NO_MASK,
        Label.NOT_FACE,
        Label.NO_MASK,
        Label.NOT_FACE,
        Label.MASK,
    ]
    assert weighed[2, 1] / weighed[2, 0] == pytest.approx(3.0)
    strict = metadata.model_copy(update={"max_not_face": 0.05})
    assert decide([0.1, 0.8, 0.1], metadata, 90, 1e3).label is Label.NO_MASK
    assert decide([0.1, 0.8, 0.1], strict, 90, 1e3).label is Label.NOT_FACE
    assert weigh_not_face(rows, [0.1] * 5, metadata.model_copy(update={"candidate_score": None})) is rows

"""The open tests: evaluation on sets that are never used for training, with variants that reveal learned shortcuts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.core.types import Label
from app.training import EQUAL_PX
from app.training.classifier.augmentation import with_rendered_mask
from app.training.classifier.evaluation import (
    Predictions,
    SetReport,
    predict_crops,
    predict_samples,
    report,
    size_slices,
    source_slices,
    subset,
    utkface_slices,
    without_siblings,
)
from app.training.data.crops import Crops
from app.training.data.face_pool import build_pool, central_crops
from app.training.data.images import read_image
from app.training.data.samples import by_image, class_folders, coco_frames, image_files
from app.training.data.splits import held_out_utkface
from app.training.types import Sample
from app.vision.classifier import MaskClassifier
from app.vision.detector import FaceDetector
from app.vision.model_metadata import ClassifierMetadata

MIN_FACE_PX = 20
RENDER_SEED = 7
FOUND_IOU = 0.3
"""Haar's boxes are much larger than annotated faces: at an IoU of 0.5 most would count as missed."""


@dataclass(frozen=True, slots=True)
class OpenTests:
    """The folder of the sets, a detector with landmarks for rendered masks (None skips that test), and detectors by
    name whose own boxes are evaluated too."""

    folder: Path
    detector: FaceDetector | None = None
    detectors: Mapping[str, FaceDetector] = field(default_factory=dict)


def run_open_tests(
    tests: OpenTests, classifier: MaskClassifier, on_set: Callable[[str], None] = lambda _name: None
) -> list[SetReport]:
    """Reports of all open tests. Raises DataError if a set is missing."""
    reports: list[SetReport] = []
    for name, resolution_px in (("faces12k/Test", 0), (f"faces12k/Test at {EQUAL_PX} px", EQUAL_PX)):
        on_set(name)
        predictions = predict_samples(
            classifier, class_folders(tests.folder / "faces12k" / "Test"), resolution_px=resolution_px
        )
        reports.append(report(name, predictions))
        if not resolution_px:
            reports.append(report(f"{name}, no augmented siblings", subset(predictions, without_siblings(predictions))))
    frames = coco_frames(tests.folder / "frames" / "test.json")
    for name, resolution_px in (
        ("frames/test, 20 px and more", 0),
        (f"frames/test at {EQUAL_PX // 2} px", EQUAL_PX // 2),
    ):
        on_set(name)
        predictions = predict_samples(classifier, frames, MIN_FACE_PX, resolution_px)
        slices = source_slices(predictions.crops.samples) | size_slices(predictions.crops.sizes_px)
        reports.append(report(name, predictions, slices))
    for detector_name, detector in tests.detectors.items():
        name = f"frames/test, boxes of {detector_name}"
        on_set(name)
        found = found_by(detector, [face for face in frames if face.box is not None and face.box.size >= MIN_FACE_PX])
        reports.append(report(name, predict_samples(classifier, found)))
    bare = held_out_faces(tests.folder)
    on_set("utkface, held out")
    predictions = predict_samples(classifier, bare)
    reports.append(report("utkface, held out", predictions, utkface_slices(predictions.crops.samples)))
    if tests.detector is not None:
        for label in (Label.MASK, Label.INCORRECT):
            if label in classifier.metadata.labels:
                on_set(f"utkface, rendered {label.value}")
                predictions = predict_rendered(classifier, bare, tests.detector, label)
                slices = utkface_slices(predictions.crops.samples)
                reports.append(report(f"utkface, rendered {label.value}", predictions, slices))
    return reports


def found_by(detector: FaceDetector, faces: Sequence[Sample]) -> list[Sample]:
    """The annotated faces that ``detector`` finds, with the detector's boxes, which the monitor classifies."""
    found: list[Sample] = []
    for path, places in by_image(faces):
        image = read_image(path)
        boxes = [] if image is None else [face.box for face in detector.detect(image)]
        for i in places:
            given = faces[i].box
            overlaps = [0.0 if given is None else box.iou(given) for box in boxes]
            if overlaps and max(overlaps) >= FOUND_IOU:
                found.append(replace(faces[i], box=boxes.pop(int(np.argmax(overlaps)))))
    return found


def held_out_faces(folder: Path) -> list[Sample]:
    faces = image_files(folder / "crops" / "utkface" / Label.NO_MASK.value)
    return [Sample(path, Label.NO_MASK, "utkface") for path in faces if held_out_utkface(path)]


def predict_rendered(
    classifier: MaskClassifier, bare: list[Sample], detector: FaceDetector, label: Label
) -> Predictions:
    """Predictions for bare faces with rendered masks. A fixed seed gives the same masks for every model."""
    crops = rendered_crops(bare, detector, label, classifier.metadata)
    return predict_crops(classifier, crops)


def rendered_crops(bare: list[Sample], detector: FaceDetector, label: Label, metadata: ClassifierMetadata) -> Crops:
    rng = np.random.default_rng(RENDER_SEED)
    worn = []
    for face in build_pool(bare, detector).faces:
        patch = with_rendered_mask(face, label, rng)
        if patch is not None:
            worn.append(replace(face, patch=patch, label=label))
    return central_crops(worn, metadata.labels, metadata.input_px, metadata.margin)

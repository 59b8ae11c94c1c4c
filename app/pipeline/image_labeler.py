"""Labels the faces of single images: no tracking, each label comes from this image alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from app.core.types import Box, FaceLabel, Image, Label
from app.pipeline.frame_analyzer import cut_faces
from app.settings.root import Settings
from app.settings.vision import LEAST_FACE_PX, ClassifierSettings, DetectorSettings
from app.vision.classifier import MaskClassifier, Probabilities, decide, load_classifier, weigh_not_face
from app.vision.detector import FaceDetector
from app.vision.detector_loader import SLACK, leaves_score, load_detector
from app.vision.multi_view import MISSING, VIEWS, MultiViewDetector
from app.vision.preprocess import face_crops, sharpness

_MORE_MARGINS = (-0.1, 0.0, 0.1)
"""Views of a face with less and more of its surroundings, each also mirrored."""


@dataclass(frozen=True, slots=True)
class LabeledFace:
    """One face of an image: bounding box and landmarks in pixels (no landmarks from Haar), and its label."""

    box: Box
    label: FaceLabel
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ImageLabeler:
    """A detector and a classifier for single images. One labeler serves one thread. ``has_yunet_scores``: the
    classifier can weigh the detector's scores; those of Haar mean something else."""

    detector: FaceDetector
    classifier: MaskClassifier
    has_yunet_scores: bool = True

    def label(self, image: Image) -> list[LabeledFace]:
        """The faces of ``image`` ((H, W, 3) uint8 BGR), largest first; ``[]`` if there are none. Detections that the
        classifier rejects are left out."""
        return [face for face in self.label_detections(image) if face.label.label is not Label.NOT_FACE]

    def label_detections(self, image: Image) -> list[LabeledFace]:
        """All detections, largest first; those that the classifier rejects have the label NOT_FACE."""
        metadata = self.classifier.metadata
        detections = sorted(self.detector.detect(image), key=lambda detection: -detection.box.area)
        boxes = [detection.box for detection in detections]
        crops = cut_faces(image, boxes, metadata)
        probabilities = self._classify_views(image, boxes)
        if self.has_yunet_scores:
            probabilities = weigh_not_face(probabilities, [detection.score for detection in detections], metadata)
        return [
            LabeledFace(
                detection.box, decide(row.tolist(), metadata, detection.box.size, sharpness(crop)), detection.landmarks
            )
            for detection, crop, row in zip(detections, crops, probabilities, strict=True)
        ]

    def _classify_views(self, image: Image, boxes: Sequence[Box]) -> Probabilities:
        """The mean of what the classifier says of each face in six views: a video shows a face many times, an image
        only once. Six times the time of one view, 4 ms a face."""
        metadata = self.classifier.metadata
        margins = [max(metadata.margin + more, 0.0) for more in _MORE_MARGINS]
        views = [face_crops(image, boxes, metadata.input_px, margin) for margin in margins]
        views += [view[:, :, ::-1] for view in views]
        rows: Probabilities = np.mean([self.classifier.classify(view) for view in views], axis=0)
        return rows


def for_photos(settings: Settings) -> Settings:
    """``settings`` that find faces of any size, unless they limit it: only video needs the speed of larger faces.

    On 281 pictures of WIDER FACE this finds 194 instead of 1 of the 224 faces of 16 to 24 px; false boxes rise from
    0.03 to 0.13 a picture (``benchmarks/photo_faces.py``, one view).
    """
    detector = settings.detector
    if (detector.min_face_px, detector.working_width_px, detector.tiles) != (None, None, None):
        return settings
    return settings.model_copy(update={"detector": detector.model_copy(update={"min_face_px": LEAST_FACE_PX})})


def load_labeler(settings: Settings) -> ImageLabeler:
    """The labeler that the settings describe. Unless they give a score or another detector, it also considers
    detections of a lower score, if the classifier is made for them; if they give only ``min_face_px``, it searches
    several views of the image. Raises ModelError if a model file cannot be used."""
    classifier, detector = load_classifier(settings.classifier), settings.detector
    score = classifier.metadata.candidate_score
    if score is None or not leaves_score(detector):
        return ImageLabeler(load_detector(detector), classifier, detector.kind == "cnn")
    if detector.min_face_px is None or (detector.working_width_px, detector.tiles, detector.region) != (None,) * 3:
        return ImageLabeler(load_detector(detector.model_copy(update={"score": score})), classifier)
    least_px = math.floor(min(view.factor for view in VIEWS) * detector.least_px)
    each_view = load_detector(detector.model_copy(update={"score": score - MISSING, "min_face_px": least_px}))
    return ImageLabeler(MultiViewDetector(each_view, score, round(SLACK * detector.least_px)), classifier)


@lru_cache(maxsize=1)
def _labeler(detector: DetectorSettings, classifier: ClassifierSettings) -> ImageLabeler:
    return load_labeler(Settings().model_copy(update={"detector": detector, "classifier": classifier}))


def label_faces(
    image: Image, settings: Settings | None = None, models: Literal["default", "open"] | None = None
) -> list[LabeledFace]:
    """The faces of ``image`` ((H, W, 3) uint8 BGR, as OpenCV reads it) with their labels, largest first; faces of any
    size, unless the settings limit it.

    ``settings`` as of ``load_settings``; its defaults if not given. ``models`` replaces their ``classifier.models``.
    The models are loaded at the first call and kept.
    Call it from one thread. Raises ModelError if a model file cannot be used.
    """
    settings = for_photos(settings or Settings())
    classifier = settings.classifier.model_copy(update={"models": models}) if models else settings.classifier
    return _labeler(settings.detector, classifier).label(image)

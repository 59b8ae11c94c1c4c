"""Compares sets of views of an image for the detector, at the same number of false boxes, on development scenes.

    python benchmarks/image_views.py DATA --yunet YUNET.onnx

Views are written as factors, "m" for mirrored. Prints, without the classifier, faces found of 20 px and more and of 10
to 20 px at given false boxes per image, and false boxes in images without a face. Then the shipped views with not_face
as ``annotate`` uses them, for several values of ``AGREED`` of ``app/vision/multi_view.py``: the largest one with no
more false boxes than OpenCV's YuNet in either group is used.
"""

import argparse
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app.core import resources  # noqa: E402
from app.core.types import Detection, Image  # noqa: E402
from app.pipeline.image_labeler import ImageLabeler  # noqa: E402
from app.training.data.images import ImageCache  # noqa: E402
from app.training.detector.evaluation import DetectorScore, score_detections  # noqa: E402
from app.training.types import Scene  # noqa: E402
from app.vision.classifier import LiteRtClassifier  # noqa: E402
from app.vision.multi_view import MISSING, MultiViewDetector, View  # noqa: E402
from app.vision.yunet_detector import BUNDLED, YuNetDetector  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402
from benchmarks.opencv_yunet import DEFAULT_SCORE, OpenCvYuNet  # noqa: E402

SETS = ("1", "1 1.5m", "1 1m 1.5m", "1 1m 1.5 1.5m", "1 1m 2 2m", "0.7 1.5m", "0.7 1m 1.5", "0.7 1m 1.75", "0.7 1m 2")
LEAST_SCORE = 0.3
"""Of a candidate in the first table; a view that lacks it counts as ``MISSING`` less."""
IN_NO_GROUP = frozenset({"no_face", "office", "scut_A", "scut_B", "wear_web"})
"""Sources that are in neither group of the table: without faces, or with few."""


class CachingDetector:
    """Runs ``detector`` once on each image."""

    def __init__(self, detector: YuNetDetector) -> None:
        self._detector = detector
        self._found: dict[tuple[tuple[int, ...], int], list[Detection]] = {}

    def detect(self, image: Image) -> list[Detection]:
        key = (image.shape, zlib.crc32(np.ascontiguousarray(image).tobytes()))
        if key not in self._found:
            self._found[key] = self._detector.detect(image)
        return self._found[key]


def views_of(text: str) -> tuple[View, ...]:
    return tuple(View(float(each.removesuffix("m")), each.endswith("m")) for each in text.split())


def at_false_boxes(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], limit: float) -> DetectorScore:
    """The score at the lowest threshold with at most ``limit`` false boxes per image."""
    low, high = LEAST_SCORE, 1.0
    while high - low > 0.004:
        middle = (low + high) / 2
        few = score_detections(scenes, found, middle).false_boxes <= limit
        low, high = (low, middle) if few else (middle, high)
    return score_detections(scenes, found, high)


def groups_of(scenes: Sequence[Scene]) -> dict[str, list[int]]:
    return {
        "WIDER": [i for i, scene in enumerate(scenes) if scene.source == "wider"],
        "others": [i for i, scene in enumerate(scenes) if scene.source not in {"wider", *IN_NO_GROUP}],
    }


def compare_sets(console: Console, scenes: Sequence[Scene], cache: ImageCache, detector: CachingDetector) -> None:
    groups = groups_of(scenes)
    empty = [i for i, scene in enumerate(scenes) if scene.source == "no_face"]
    limits = {"WIDER": (0.2, 0.3), "others": (0.4, 0.6)}
    heads = (f"{group} {limit}" for group in groups for limit in limits[group])
    table = Table("views", "passes", *heads, f"no face, at {LEAST_SCORE}", box=None)
    for text in SETS:
        views = views_of(text)
        several = MultiViewDetector(detector, LEAST_SCORE, 8, views)
        found = [several.detect(cache.get(scene.path)) for scene in scenes]
        cells = []
        for group, chosen in groups.items():
            for limit in limits[group]:
                score = at_false_boxes([scenes[i] for i in chosen], [found[i] for i in chosen], limit)
                cells.append(f"{score.recall_all:.3f}, {score.recall_small:.3f}")
        nothing = score_detections([scenes[i] for i in empty], [found[i] for i in empty], LEAST_SCORE)
        passes = sum(view.factor**2 for view in views)
        table.add_row(text, f"{passes:.1f}", *cells, f"{nothing.false_boxes:.3f}")
    console.print(table)


def compare_agreed(
    console: Console, scenes: Sequence[Scene], cache: ImageCache, detector: CachingDetector, yunet: Path
) -> None:
    reference = OpenCvYuNet(yunet, score=DEFAULT_SCORE, working_width_px=640, min_face_px=1)
    classifier = LiteRtClassifier(resources.model("classifier.tflite"), 1)
    least = classifier.metadata.candidate_score
    assert least is not None
    groups = groups_of(scenes)
    table = Table("AGREED", *(f"{name}: found, 10–20 px, false boxes" for name in groups), box=None)

    def add(name: str, kept: Sequence[Sequence[Detection]]) -> None:
        cells = []
        for chosen in groups.values():
            score = score_detections([scenes[i] for i in chosen], [kept[i] for i in chosen], DEFAULT_SCORE)
            cells.append(f"{score.recall_all:.3f}, {score.recall_small:.3f}, {score.false_boxes:.3f}")
        table.add_row(name, *cells)

    add("OpenCV's YuNet", [reference.detect(cache.get(scene.path)) for scene in scenes])
    for agreed in (0.0, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.4):
        labeler = ImageLabeler(MultiViewDetector(detector, least, 8, agreed=agreed), classifier)
        labelled = [labeler.label(cache.get(scene.path)) for scene in scenes]
        add(f"{agreed}", [[Detection(face.box, 1.0) for face in faces] for faces in labelled])
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--yunet", type=Path, required=True)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    console, cache = Console(width=140), ImageCache()
    files = (args.data / "scenes" / "train.json", args.data / "frames" / "train.json")
    scenes = [scene for file in files for scene in listed_scenes(file, "development")]
    score = LEAST_SCORE - MISSING
    detector = CachingDetector(
        YuNetDetector(resources.model(BUNDLED["int8"]), score=score, working_width_px=4096, min_face_px=1, threads=1)
    )
    compare_sets(console, scenes, cache, detector)
    compare_agreed(console, scenes, cache, detector, args.yunet)
    return 0


if __name__ == "__main__":
    sys.exit(main())

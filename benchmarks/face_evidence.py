"""Chooses how much not_face and the detector's score count together, on development scenes.

    python benchmarks/face_evidence.py DATA --classifier models/classifier.tflite [--json FILE]

Runs the bundled detector from a low score on over the development scenes of ``models/held_back.json``, classifies
the detections, and fits ``face_weights`` of the classifier's metadata by logistic regression. ``max_not_face`` is then
the largest value with no more false boxes than the detector alone has at the score of OpenCV's YuNet (0.6). Prints
recall and false boxes per image of the detector alone and of both together.
``carry_over_classifier.py`` writes the values.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Detection, Label  # noqa: E402
from app.pipeline.frame_analyzer import cut_faces  # noqa: E402
from app.training.data.images import ImageCache  # noqa: E402
from app.training.detector.evaluation import FOUND_IOU, is_neutral, match, score_detections  # noqa: E402
from app.training.types import Scene  # noqa: E402
from app.vision.classifier import LiteRtClassifier, Probabilities, weigh_not_face  # noqa: E402
from app.vision.yunet_detector import BUNDLED, YuNetDetector  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402

COMPLETE = frozenset({"wider", "office", "scut_A", "scut_B", "no_face"})
"""Sources in which every face is boxed: only there a detection without a box is certainly no face."""
REFERENCE_SCORE = 0.6
"""Of OpenCV's YuNet, whose false boxes are the limit."""


def log_odds(shares: Sequence[float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    clipped = np.clip(np.asarray(shares, float), 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))


def fit(
    scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], rows: Sequence[Probabilities], column: int
) -> tuple[float, float, float]:
    from sklearn.linear_model import LogisticRegression

    inputs: list[tuple[float, float]] = []
    targets: list[bool] = []
    for scene, detections, probabilities in zip(scenes, found, rows, strict=True):
        hits = match([face.box for face in scene.faces], detections, FOUND_IOU)
        for hit, detection, row in zip(hits, detections, probabilities, strict=True):
            near = any(detection.box.iou(face.box) >= 0.1 for face in scene.faces)
            is_false = hit < 0 and not near and not is_neutral(detection.box, scene) and scene.source in COMPLETE
            if hit >= 0 or is_false:
                inputs.append((detection.score, 1 - float(row[column])))
                targets.append(hit >= 0)
    columns = np.column_stack([log_odds([one[i] for one in inputs]) for i in range(2)])
    model = LogisticRegression(C=1e4).fit(columns, targets)
    (by_score, by_class), (constant,) = model.coef_[0], model.intercept_
    return round(float(by_score), 3), round(float(by_class), 3), round(float(constant), 3)


def choose_limit(
    scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], fused: Sequence[Sequence[Detection]]
) -> float:
    allowed = score_detections(scenes, found, REFERENCE_SCORE).false_boxes
    limits = [round(0.3 + 0.02 * step, 2) for step in range(26)]
    counts = {limit: score_detections(scenes, fused, 1 - limit).false_boxes for limit in limits}
    return max((limit for limit, count in counts.items() if count <= allowed), default=limits[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--classifier", type=Path, default=resources.model("classifier.tflite"))
    parser.add_argument("--candidate-score", type=float, default=0.4)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    console = Console(width=120)
    detector = YuNetDetector(resources.model(BUNDLED["int8"]), score=args.candidate_score, threads=1)
    classifier = LiteRtClassifier(args.classifier, 1)
    metadata = classifier.metadata
    cache = ImageCache()
    files = (args.data / "scenes" / "train.json", args.data / "frames" / "train.json")
    scenes = [scene for file in files for scene in listed_scenes(file, "development")]
    found, rows = [], []
    for scene in scenes:
        image = cache.get(scene.path)
        detections = sorted(detector.detect(image), key=lambda one: -one.score)
        found.append(detections)
        rows.append(classifier.classify(cut_faces(image, [one.box for one in detections], metadata)))
    column = metadata.labels.index(Label.NOT_FACE)
    weights = fit(scenes, found, rows, column)
    console.print(f"face_weights {weights}", highlight=False)
    together = metadata.model_copy(update={"face_weights": weights, "candidate_score": args.candidate_score})
    fused = []
    for detections, probabilities in zip(found, rows, strict=True):
        weighed = weigh_not_face(probabilities, [one.score for one in detections], together)
        fused.append([replace(one, score=1 - float(row[column])) for one, row in zip(detections, weighed, strict=True)])
    limit = choose_limit(scenes, found, fused)
    console.print(f"max_not_face {limit}", highlight=False)
    table = Table("source", "by", "threshold", "found ≥ 20 px", "10–20 px", "false boxes", box=None)
    results = []
    for source in sorted({scene.source for scene in scenes}):
        chosen = [i for i, scene in enumerate(scenes) if scene.source == source]
        part = [scenes[i] for i in chosen]
        for name, some, thresholds in (
            ("detector", found, (0.6, 0.65, 0.7)),
            ("both", fused, (1 - limit, 0.4, 0.5, 0.6, 0.7)),
        ):
            for threshold in thresholds:
                score = score_detections(part, [some[i] for i in chosen], threshold)
                row = (source, name, threshold, score.recall_all, score.recall_small, score.false_boxes)
                results.append(row)
                table.add_row(*(f"{one:.3f}" if isinstance(one, float) else one for one in row))
    console.print(table)
    if args.json is not None:
        chosen_values = {"candidate_score": args.candidate_score, "face_weights": weights, "max_not_face": limit}
        write_json(args.json, {**chosen_values, "rows": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())

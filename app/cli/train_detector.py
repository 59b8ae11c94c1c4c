"""``maskwatch train-detector``: trains the face detector on annotated scenes."""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from app.cli.training_progress import TrainingProgress
from app.core import resources
from app.core.errors import DataError
from app.core.files import is_file
from app.core.types import Image
from app.training.data.images import CachedDetector, ImageCache
from app.training.detector.augmentation import DetectorAugmentation, Sampler
from app.training.detector.evaluation import SCAN_SCORE, choose_score, run_detector, score_detections
from app.training.detector.network import STRIDES
from app.training.detector.scene_reader import read_scenes
from app.training.detector.scenes import (
    FaceCrop,
    PseudoLabelThresholds,
    oversample_rare,
    read_crops,
    split_scenes,
    with_pseudo_labels,
)
from app.training.detector.training import DETECTOR_RECIPE, DetectorTask, open_network
from app.training.export import CALIBRATION_IMAGES, export_detector, write_model
from app.training.trainer import Trainer, begin_run, file_identity, limit_threads
from app.training.types import KerasModel, Recipe, Scene
from app.vision.model_metadata import DetectorMetadata
from app.vision.preprocess import limit_opencv_threads
from app.vision.yunet_detector import BUNDLED, YuNetDetector

TARGET_PRECISION = 0.75
"""Precision at the chosen score threshold on the development split. YuNet reaches 0.73 at score 0.6 there.
A value near 1 is impossible: many small faces are not annotated."""


def run(args: argparse.Namespace) -> int:

    console = Console()
    recipe = replace(DETECTOR_RECIPE, epochs=args.epochs, learning_rate=args.learning_rate)
    begin_with = args.begin_with or resources.model("face_detector.keras")
    if not is_file(begin_with):  # reported before the work starts
        raise DataError(f"no weights file {begin_with}; give a .keras file, an .onnx file or checkpoint.npz of a run")
    begin_run(args.folder, _about(args, recipe, begin_with))
    limit_threads(args.threads)
    limit_opencv_threads(1)
    train, development, crops, cache = _read_data(args)
    if len(train) < recipe.batch:
        sources = ", ".join(map(str, args.data))
        raise DataError(f"{sources}: {len(train)} training scenes; add images, at least {recipe.batch} are needed")
    console.print(f"{len(train)} training scenes, {len(development)} development scenes, {len(crops)} face crops")
    examples = [cache.get(scene.path) for scene in train[:: max(1, len(train) // CALIBRATION_IMAGES)]]
    train = oversample_rare(train)
    usual, calm = (Sampler(train, crops, cache, DetectorAugmentation(mosaic=mosaic)) for mosaic in (0.5, 0.25))
    model = open_network(begin_with)
    task = DetectorTask(model, recipe, usual, calm, lambda net: _evaluate(net, development, cache), args.sizes_px)
    with TrainingProgress(console) as progress:
        trainer = Trainer(task, recipe, args.folder, budget_s=args.hours * 3600)
        trainer.on_step, trainer.on_epoch = progress.on_step, progress.on_epoch
        trainer.run()
    stem = args.out or args.folder / "face_detector"
    score = export_with_chosen_score(model, development, cache, stem, examples)
    console.print(f"score threshold {score:.2f}, chosen on the development split; wrote {stem}.keras and .tflite")
    return 0


def _about(args: argparse.Namespace, recipe: Recipe, begin_with: Path) -> dict[str, object]:
    """The inputs that determine a training run, kept in its settings. Raises DataError if a file is missing."""

    named = {f"annotations{i}": path for i, path in enumerate(args.data) if is_file(path)}
    named |= {"began_with": begin_with, "held_back": args.held_back}
    try:
        files = {name: file_identity(path) for name, path in named.items() if path is not None}
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}; check its name") from error
    options = {"data": [str(path) for path in args.data], "faces": str(args.faces or ""), "sizes_px": args.sizes_px}
    return {**options, "recipe": asdict(recipe), **files}


def _read_data(args: argparse.Namespace) -> tuple[list[Scene], list[Scene], list[FaceCrop], ImageCache]:
    """Training scenes, development scenes, face crops and the image cache.

    The bundled detector adds pseudo-labels for faces without annotation, and landmarks for all faces.
    """

    cache = ImageCache()
    scenes = [scene for folder in args.data for scene in read_scenes(folder)]
    train, development = split_scenes(scenes, cache, _held_back(args.held_back))
    yunet = YuNetDetector(
        resources.model(BUNDLED["float32"]), score=0.3, working_width_px=4096, min_face_px=4, threads=args.threads
    )
    with CachedDetector(yunet, args.folder / "detections.json") as teacher:
        found = [teacher.detect(cache.get(scene.path)) for scene in train]
        trust = PseudoLabelThresholds()
        train = [with_pseudo_labels(scene, detections, trust) for scene, detections in zip(train, found, strict=True)]
        crops = [] if args.faces is None else read_crops(args.faces, cache, teacher)
    return train, development, crops, cache


def _held_back(path: Path | None) -> dict[str, list[str]] | None:
    """The lists of image names in ``path``. Raises DataError if the file cannot be used."""
    if path is None:
        return None
    try:
        lists: dict[str, list[str]] = json.loads(path.read_text("utf-8"))
        return {"development": lists["development"], **lists}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read image lists from {path}: {error}; it needs a list named 'development'") from error


def _evaluate(model: KerasModel, development: list[Scene], cache: ImageCache) -> dict[str, float]:
    """Metrics of the averaged float32 network on the development scenes, run in LiteRT."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.tflite"
        write_model(model, _metadata(SCAN_SCORE), path)
        detector = YuNetDetector(path, working_width_px=576, min_face_px=1, threads=1)
        found = run_detector(detector.detect, development, cache)
    scored = score_detections(development, found, 0.6)
    metrics = {"ap": scored.ap, "all": scored.recall_all, "small": scored.recall_small, "false": scored.false_boxes}
    return {name: value for name, value in {**metrics, **scored.recall}.items() if math.isfinite(value)}


def _metadata(score: float) -> DetectorMetadata:

    return DetectorMetadata(name="yunet", version="own", strides=STRIDES, score=score, nms_iou=0.3)


def export_with_chosen_score(
    model: KerasModel, development: list[Scene], cache: ImageCache, stem: Path, examples: Sequence[Image]
) -> float:
    """Writes the model with a score threshold chosen on the development scenes. Returns the threshold."""

    _, path, _ = export_detector(model, _metadata(SCAN_SCORE), stem, examples)
    detector = YuNetDetector(path, working_width_px=576, min_face_px=1, threads=1)
    found = run_detector(detector.detect, development, cache)
    score = choose_score(development, found, TARGET_PRECISION)
    export_detector(model, _metadata(score), stem, examples)
    return score

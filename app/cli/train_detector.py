"""``maskwatch train-detector`` and ``maskwatch evaluate-detector``."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from app.core import resources
from app.core.errors import DataError, ModelError, OutputError
from app.core.files import is_file, write_json

if TYPE_CHECKING:
    from app.core.types import Image
    from app.training.detector.comparison import HaarOptions
    from app.training.detector.scenes import FaceCrop, ImageCache, Scene
    from app.training.detector.trainer import DetectorRecipe, DetectorTrainer
    from app.training.networks import KerasModel
    from app.vision.model_metadata import DetectorMetadata

TARGET_PRECISION = 0.75
"""Precision at the chosen score threshold on the development split. YuNet reaches 0.73 at score 0.6 there.
A value near 1 is impossible: many small faces are not annotated."""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = subparsers.add_parser("train-detector", help="train the face detector on annotated scenes")
    train.add_argument(
        "--data", type=Path, nargs="+", required=True, help="COCO files, or folders with a COCO file or VOC files"
    )
    train.add_argument("--faces", type=Path, help="folder with faces12k/ and crops/: face images to paste into scenes")
    train.add_argument(
        "--held-back",
        type=Path,
        help="JSON file with lists of image names: 'development' is for evaluation, the others are ignored",
    )
    train.add_argument(
        "--run", dest="run_folder", type=Path, required=True, help="run folder; an interrupted run in it is resumed"
    )
    train.add_argument(
        "--begin-with",
        type=Path,
        help="initial weights: .keras, YuNet's .onnx or averaged.npz of a run (default: the bundled detector)",
    )
    train.add_argument("--epochs", type=_positive, default=60)
    train.add_argument("--hours", type=_hours, default=math.inf, help="time limit; the learning rate decays within it")
    train.add_argument(
        "--sizes-px", type=_sizes, default=(256, 320), help="image sizes, used in turn (default 256,320)"
    )
    train.add_argument("--learning-rate", type=float, default=3e-4)
    train.add_argument("--threads", type=_positive, default=1)
    train.add_argument("--out", type=Path, help="where to write NAME.keras and NAME.tflite (default: in --run)")
    train.set_defaults(run=run_train)

    evaluate = subparsers.add_parser("evaluate-detector", help="compare all face detectors on annotated images")
    evaluate.add_argument("--data", type=Path, required=True, help="COCO file, or folder with a COCO file or VOC files")
    evaluate.add_argument("--model", type=Path, help="detector file (default: the bundled one)")
    evaluate.add_argument(
        "--haar-options",
        type=_haar_options,
        default=(),
        metavar="LIST",
        help="more Haar rows, comma-separated: equalize, profile, min24 (smallest face, px); join them with '+'",
    )
    evaluate.add_argument("--classifier", type=Path, help="LiteRT classifier for the end-to-end score")
    evaluate.add_argument("--width-px", type=_positive, default=576, help="working width of every detector")
    evaluate.add_argument("--threads", type=_positive, default=1, help="threads of every detector (default 1)")
    evaluate.add_argument("--limit", type=_positive, help="use only the first N images")
    evaluate.add_argument("--json", type=Path, help="write the results to this file")
    evaluate.set_defaults(run=run_evaluate)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _hours(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(_positive(part) for part in text.split(","))
    if any(size % 32 for size in sizes):
        raise argparse.ArgumentTypeError(f"sizes must be multiples of 32, not {text}")
    return sizes


def _haar_options(text: str) -> "tuple[HaarOptions, ...]":
    from app.training.detector.comparison import haar_options

    try:
        return tuple(haar_options(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run_train(args: argparse.Namespace) -> int:
    from rich.console import Console

    from app.cli.training_options import resumable
    from app.training.detector.trainer import DetectorRecipe
    from app.training.export import CALIBRATION_IMAGES
    from app.training.trainer import begin_run, limit_threads
    from app.vision.preprocess import limit_opencv_threads

    console = Console()
    recipe = DetectorRecipe(
        epochs=args.epochs,
        budget_s=args.hours * 3600,
        sizes_px=args.sizes_px,
        learning_rate=args.learning_rate,
    )
    begin_with = args.begin_with or resources.model("face_detector.keras")
    if not is_file(begin_with):  # reported before the work starts
        raise DataError(f"no weights file {begin_with}; give a .keras file, an .onnx file or averaged.npz of a run")
    begin_run(args.run_folder, _about(args, recipe, begin_with))
    limit_threads(args.threads)
    limit_opencv_threads(1)
    train, development, crops, cache = _read_data(args)
    if len(train) < recipe.batch:
        sources = ", ".join(map(str, args.data))
        raise DataError(f"{sources}: {len(train)} training scenes; add images, at least {recipe.batch} are needed")
    console.print(f"{len(train)} training scenes, {len(development)} development scenes, {len(crops)} face crops")
    trainer = _trainer(args.run_folder, begin_with, recipe, train, crops, cache)
    examples = [cache.get(scene.path) for scene in train[:: max(1, len(train) // CALIBRATION_IMAGES)]]
    trainer.judge = lambda model: _evaluate(model, development, cache)
    trainer.on_epoch = lambda record: console.print(
        f"epoch {record.epoch}: score {record.score_loss:.3f}, box {record.box_loss:.3f}, "
        f"landmarks {record.points_loss:.3f}, {record.seconds:.0f} s  {record.development or ''}"
    )
    with resumable(console):
        trainer.run()
    stem = args.out or args.run_folder / "face_detector"
    score = export_with_chosen_score(trainer.model, development, cache, stem, examples)
    console.print(f"score threshold {score:.2f}, chosen on the development split; wrote {stem}.keras and .tflite")
    return 0


def _about(args: argparse.Namespace, recipe: "DetectorRecipe", begin_with: Path) -> dict[str, object]:
    """The inputs that determine a training run, kept in its settings. Raises DataError if a file is missing."""
    from app.training.trainer import file_identity

    named = {f"annotations{i}": path for i, path in enumerate(args.data) if is_file(path)}
    named |= {"began_with": begin_with, "held_back": args.held_back}
    try:
        files = {name: file_identity(path) for name, path in named.items() if path is not None}
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}; check its name") from error
    options = {name: value for name, value in asdict(recipe).items() if name != "budget_s"}
    return {"data": [str(path) for path in args.data], "faces": str(args.faces or ""), "recipe": options, **files}


def _read_data(args: argparse.Namespace) -> "tuple[list[Scene], list[Scene], list[FaceCrop], ImageCache]":
    """Training scenes, development scenes, face crops and the image cache.

    The bundled detector adds pseudo-labels for faces without annotation, and landmarks for all faces.
    """
    from app.training.detector.scene_reader import read_scenes
    from app.training.detector.scenes import (
        ImageCache,
        PseudoLabelThresholds,
        cached_pseudo_labels,
        read_crops,
        split_scenes,
        with_pseudo_labels,
    )
    from app.vision.yunet_detector import BUNDLED, YuNetDetector

    cache = ImageCache()
    scenes = [scene for folder in args.data for scene in read_scenes(folder)]
    train, development = split_scenes(scenes, cache, _held_back(args.held_back))
    teacher = YuNetDetector(
        resources.model(BUNDLED["float32"]), score=0.3, working_width_px=4096, min_face_px=4, threads=args.threads
    )
    pseudo_labels = cached_pseudo_labels(
        [scene.path for scene in train], cache, teacher.detect, args.run_folder / "lessons.json"
    )
    train = [with_pseudo_labels(scene, pseudo_labels[scene.path], PseudoLabelThresholds()) for scene in train]
    crops: list[FaceCrop] = []
    if args.faces is not None:
        crops = read_crops(args.faces, cache, teacher.detect, args.run_folder / "crops.json")
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


def _trainer(
    run_folder: Path,
    begin_with: Path,
    recipe: "DetectorRecipe",
    train: "list[Scene]",
    crops: "list[FaceCrop]",
    cache: "ImageCache",
) -> "DetectorTrainer":
    from app.training.detector.augmentation import DetectorAugmentation, Sampler
    from app.training.detector.scenes import oversample_rare
    from app.training.detector.trainer import DetectorTrainer, open_network

    model = open_network(begin_with)
    train = oversample_rare(train)
    late = Sampler(train, crops, cache, DetectorAugmentation(mosaic=0.25))
    return DetectorTrainer(model, recipe, Sampler(train, crops, cache, DetectorAugmentation()), late, run_folder)


def _evaluate(model: "KerasModel", development: "list[Scene]", cache: "ImageCache") -> dict[str, float]:
    """Metrics of the averaged float32 network on the development scenes, run in LiteRT."""
    import tempfile

    from app.training.detector.evaluation import SCAN_SCORE, run_detector, score_detections
    from app.training.export import write_model
    from app.vision.yunet_detector import YuNetDetector

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.tflite"
        write_model(model, _metadata(SCAN_SCORE), path)
        detector = YuNetDetector(path, working_width_px=576, min_face_px=1, threads=1)
        found = run_detector(detector.detect, development, cache)
    scored = score_detections(development, found, 0.6)
    metrics = {"ap": scored.ap, "all": scored.recall_all, "small": scored.recall_small, "false": scored.false_boxes}
    return {name: value for name, value in {**metrics, **scored.recall}.items() if math.isfinite(value)}


def _metadata(score: float) -> "DetectorMetadata":
    from app.training.detector.network import STRIDES
    from app.vision.model_metadata import DetectorMetadata

    return DetectorMetadata(name="yunet", version="own", strides=STRIDES, score=score, nms_iou=0.3)


def export_with_chosen_score(
    model: "KerasModel", development: "list[Scene]", cache: "ImageCache", stem: Path, examples: "Sequence[Image]"
) -> float:
    """Writes the model with a score threshold chosen on the development scenes. Returns the threshold."""
    from app.training.detector.evaluation import SCAN_SCORE, choose_score, run_detector
    from app.training.export import export_detector
    from app.vision.yunet_detector import YuNetDetector

    _, path, _ = export_detector(model, _metadata(SCAN_SCORE), stem, examples)
    detector = YuNetDetector(path, working_width_px=576, min_face_px=1, threads=1)
    found = run_detector(detector.detect, development, cache)
    score = choose_score(development, found, TARGET_PRECISION)
    export_detector(model, _metadata(score), stem, examples)
    return score


def run_evaluate(args: argparse.Namespace) -> int:
    from rich.console import Console

    from app.training.detector.comparison import (
        PAPER,
        ComparisonSettings,
        compared_detectors,
        evaluate_all,
        to_tables,
        to_tree,
    )
    from app.training.detector.scene_reader import read_scenes

    for path in (args.model, args.classifier):
        if path is not None and not is_file(path):
            raise ModelError(f"no model file {path}; check its name")
    scenes = read_scenes(args.data)[: args.limit]
    comparison = ComparisonSettings(
        ours=args.model or resources.model("face_detector.tflite"),
        width_px=args.width_px,
        threads=args.threads,
        haar=(PAPER, *args.haar_options),
    )
    rows = evaluate_all(
        scenes, compared_detectors(comparison), args.classifier or resources.model("classifier.tflite"), args.threads
    )
    for table in to_tables(rows):
        Console().print(table)
    if args.json is not None:
        try:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.json, to_tree(rows, scenes, args.width_px))
        except OSError as error:
            raise OutputError(f"cannot write {args.json}: {error.strerror}; choose another --json") from error
    return 0

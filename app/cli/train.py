"""``maskwatch train``: fine-tunes on your own images, or runs the shipped recipe on all sources."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from app.cli.training_progress import TrainingProgress
from app.core import resources
from app.core.errors import DataError
from app.core.files import is_file, write_json
from app.core.images import resize
from app.core.text import counted
from app.core.types import Label
from app.training import EQUAL_PX
from app.training.classifier.calibration import Calibration
from app.training.classifier.evaluation import Predictions, ReportedSet, predict_crops, report, usual_slices
from app.training.classifier.improvement import compare
from app.training.classifier.shortcut_probe import probe_of
from app.training.classifier.training import FirstNetwork, load_first_network
from app.training.data.face_pool import (
    FacePool,
    NoDetector,
    PooledFace,
    build_pool,
    central_crops,
    landmark_detector,
    mine_hard_negatives,
    without_bystanders,
)
from app.training.data.images import CachedDetector
from app.training.data.samples import labels_of, show_left_out
from app.training.data.splits import LOOSE_SETS, NegativeSources, Splits, negative_sources, training_sources
from app.training.data.user_splits import MIN_FACES, about, check_labels, user_splits
from app.training.reports.html_report import Page, Training, write_charts, write_report
from app.training.reports.tables import plain
from app.training.trainer import Fitted, begin_run, file_identity, limit_threads
from app.training.types import Sample
from app.vision.classifier import KerasClassifier, LiteRtClassifier, bundled_model
from app.vision.detector import FaceDetector
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata
from app.vision.preprocess import limit_opencv_threads
from app.vision.yunet_detector import YuNetDetector

if TYPE_CHECKING:
    from app.training.classifier.augmentation import ClassifierAugmentation
    from app.training.classifier.training import ShippedRun

FINE_TUNE_EPOCHS = 10
FINE_TUNE_RATE = 3e-4
CONTINUE_RATE = 2e-3
"""To continue on the same data: high enough to leave the local minimum of the last cosine schedule."""
MIN_STEPS = 20
DETECTIONS = "detections.json"
"""Detections in the images of a run, kept so that a resumed run starts faster."""
HARD_NEGATIVE_SCORE = 0.2
"""Below the detector's threshold: a near miss in these frames can be a false positive in others."""


def run(args: argparse.Namespace) -> int:
    console = Console()
    limit_opencv_threads(args.threads)
    duplicates: list[tuple[Path, Path]] = []
    if args.all_sources:
        splits = training_sources(args.data, args.only_faces12k, args.licence)
    else:
        splits, duplicates = user_splits(args.data, console)
    begin_run(args.folder, {"data": about(args.data, splits)})  # reports bad data before the work starts
    if duplicates:
        write_json(args.folder / "duplicates.json", plain(duplicates))
    if args.only_thresholds:
        return choose_thresholds(args, splits, console)
    limit_threads(args.threads)
    first = None if is_fresh(args) else load_first_network(args.begin_with)
    labels = labels_to_learn(args, splits) if first is None else first.metadata.labels
    check_labels(splits, labels)
    if first is not None:
        begin_run(args.folder, {"began_with": file_identity(args.begin_with or resources.model("classifier.keras"))})
    train, dev = pools_of(args, splits, labels, console)
    from app.training.classifier.training import train_shipped

    plan = plan_of(args, labels, len(train.faces), first)
    check_usable_faces(args.data, splits, train, dev, plan.augmentation)
    with TrainingProgress(console) as progress:
        initial_model = first.model if first else None
        fitted = train_shipped(plan, train.faces, dev.faces, progress.on_step, progress.on_epoch, initial_model)
    _write_results(args, plan, fitted, TrainingFaces(train, dev, tuple(duplicates)), console)
    return 0


def check_usable_faces(
    source: Path, splits: Splits, train: FacePool, dev: FacePool, augmentation: "ClassifierAugmentation"
) -> None:
    """Raises DataError if a label has too few usable training faces or no development face.

    A face is unusable if its bounding box lies outside its image or is only a few pixels wide.
    """
    from app.training.classifier.augmentation import is_legible

    for label in labels_of((*splits.train, *splits.dev)):
        given = sum(sample.label == label for sample in splits.train)
        legible = sum(face.label == label and is_legible(face, augmentation) for face in train.faces)
        if legible < MIN_FACES:
            raise DataError(
                f"{source}: {legible} of {given} training faces of {label.value} can be used, the others are under "
                f"{augmentation.min_native_px:g} px or outside their images; add faces, at least {MIN_FACES} are needed"
            )
    labels_of(face.sample for face in dev.faces)


@dataclass(frozen=True, slots=True)
class TrainingFaces:
    """``dev`` chooses thresholds and the best epoch; ``duplicates`` are pairs of near-duplicates across splits."""

    train: FacePool
    dev: FacePool
    duplicates: tuple[tuple[Path, Path], ...]


def labels_to_learn(args: argparse.Namespace, splits: Splits) -> tuple[Label, ...]:
    """The labels of a new network: those of the data, and not_face if hard negatives are mined."""
    labels = labels_of(splits.train)
    return (*labels, Label.NOT_FACE) if _has_negatives(args) and Label.NOT_FACE not in labels else labels


def _has_negatives(args: argparse.Namespace) -> bool:
    return bool(args.all_sources and not args.only_faces12k)


def pools_of(
    args: argparse.Namespace, splits: Splits, labels: tuple[Label, ...], console: Console
) -> tuple[FacePool, FacePool]:
    """The faces and hard negatives for training, and for development those of the network's ``labels``."""
    train_sources, dev_sources = (
        negative_sources(args.data, splits, args.licence) if _has_negatives(args) else (None, None)
    )
    with CachedDetector(landmark_detector(args.threads), args.folder / DETECTIONS) as detector:
        train = _pool(args, splits.train, train_sources, detector, console)
        dev = _pool(args, splits.dev, dev_sources, detector, console)
    return train, _with_labels(dev, labels)


def _pool(
    args: argparse.Namespace,
    samples: Sequence[Sample],
    sources: NegativeSources | None,
    detector: CachedDetector,
    console: Console,
) -> FacePool:
    pool = _without_bystanders(args, pool_of(samples, detector, console))
    if sources is None:
        return pool
    with console.status("searching for hard negatives"):
        return replace(pool, faces=pool.faces + hard_negatives_of(args, sources, detector))


def _with_labels(pool: FacePool, labels: tuple[Label, ...]) -> FacePool:
    return replace(pool, faces=[face for face in pool.faces if face.label in labels])


def hard_negatives_of(args: argparse.Namespace, sources: NegativeSources, teacher: CachedDetector) -> list[PooledFace]:
    """Crops without a face, and false positives of the bundled detector."""
    path = resources.model("face_detector.tflite")
    eager = YuNetDetector(path, score=HARD_NEGATIVE_SCORE, threads=args.threads)
    with CachedDetector(eager, args.folder / f"false-{DETECTIONS}") as detector:
        found = mine_hard_negatives(sources.crops, sources.images, detector, teacher)
    return build_pool(found, NoDetector()).faces if found else []


def _without_bystanders(args: argparse.Namespace, pool: FacePool) -> FacePool:
    path = resources.model("classifier.tflite")
    if args.all_sources and not args.licence and is_file(path):  # its weights learned from other data
        return replace(pool, faces=without_bystanders(pool.faces, LiteRtClassifier(path, args.threads), LOOSE_SETS))
    return pool


def development_pool(args: argparse.Namespace, splits: Splits, console: Console) -> FacePool:
    sources = negative_sources(args.data, splits, args.licence)[1] if _has_negatives(args) else None
    with CachedDetector(landmark_detector(args.threads), args.folder / DETECTIONS) as detector:
        return _pool(args, splits.dev, sources, detector, console)


def choose_thresholds(args: argparse.Namespace, splits: Splits, console: Console) -> int:
    """Writes the ``--from`` model with its weights unchanged and thresholds chosen on the development faces."""
    from app.training.classifier.finalize import finalize_model

    path = args.begin_with or resources.model("classifier.keras")
    limit_threads(args.threads)
    first = load_first_network(path)
    labels = first.metadata.labels
    check_labels(Splits((), splits.dev), labels)
    dev = _with_labels(development_pool(args, splits, console), labels)
    final = finalize_model(first.model, labels, dev.faces, args.folder / "classifier", first.metadata)
    write_json(
        args.folder / "metrics.json", plain({"choice": final.choice, "dev": final.dev, "dev_frames": final.dev_frames})
    )
    print_choice(console, final.choice, f"wrote {final.files[0]}, {final.files[1]}")
    return 0


def choice_text(choice: Calibration) -> str:
    if not choice.is_chosen:
        return "too few development faces or errors: temperature and thresholds stay unchanged"
    rule = choice.unsure
    return (
        f"chosen on the development faces: offsets {', '.join(map(str, choice.offsets))}, temperature "
        f"{choice.temperature:.2f}, unsure below {rule.min_confidence} or {rule.min_two_way} for mask against no mask"
    )


def is_fresh(args: argparse.Namespace) -> bool:
    """Whether training starts from random weights: the default for all sources, ``--from-scratch`` for your own."""
    return bool(args.from_scratch or (args.all_sources and args.begin_with is None))


def plan_of(
    args: argparse.Namespace, labels: tuple[Label, ...], faces: int, first: "FirstNetwork | None"
) -> "ShippedRun":
    from app.training.classifier.augmentation import ClassifierAugmentation
    from app.training.classifier.training import (
        OPEN_AUGMENTATION,
        OPEN_EPOCHS,
        OPEN_NETWORK,
        SHIPPED_RECIPE,
        ShippedRun,
    )
    from app.training.networks import LARGE_MARGIN, LARGE_NETWORK, ShippedNetwork

    recipe = replace(SHIPPED_RECIPE, seed=args.seed)
    network, augmentation = ShippedNetwork(), ClassifierAugmentation()
    if args.licence:
        recipe, network, augmentation = replace(recipe, epochs=OPEN_EPOCHS), OPEN_NETWORK, OPEN_AUGMENTATION
    network = LARGE_NETWORK if args.large else network
    margin = LARGE_MARGIN if args.large else augmentation.margin
    if first is not None:
        network, margin = first.network, first.metadata.margin
        recipe = replace(recipe, epochs=FINE_TUNE_EPOCHS, learning_rate=FINE_TUNE_RATE, warmup_epochs=0.5)
        if args.all_sources:  # label smoothing makes errors as confident as correct answers
            recipe = replace(recipe, learning_rate=CONTINUE_RATE, label_smoothing=0.0)
    if args.epochs:
        recipe = replace(recipe, epochs=args.epochs)
    augmentation = replace(
        augmentation, input_px=network.input_px, margin=margin, seed=args.seed, equalise=not args.no_equaliser
    )
    if args.only_faces12k:
        augmentation = replace(augmentation, synthetic_shares=(0.0, 0.0, 0.0))
    steps = args.steps or (augmentation.steps if args.all_sources else max(MIN_STEPS, faces // augmentation.batch))
    return ShippedRun(args.folder, labels, network, recipe, replace(augmentation, steps=steps))


def _write_results(
    args: argparse.Namespace, plan: "ShippedRun", fitted: Fitted, faces: TrainingFaces, console: Console
) -> None:
    """Writes model files, metrics, report and charts into the run folder."""
    from app.training.classifier.finalize import finalize_model

    train, dev = faces.train.faces, faces.dev.faces
    metadata = ClassifierMetadata(
        name="maskwatch",
        labels=plan.labels,
        input_px=plan.network.input_px,
        margin=plan.augmentation.margin,
        trained_on=tuple(sorted({face.source for face in train if face.label in plan.labels})),
    )
    if not is_fresh(args):
        initial = read_classifier_metadata(args.begin_with or resources.model("classifier.keras"))
        thresholds = ("temperature", "min_confidence", "min_two_way", "min_sharpness")
        inherited = (*thresholds, "candidate_score", "face_weights", "max_not_face")
        metadata = metadata.model_copy(update={name: getattr(initial, name) for name in inherited})
    final = finalize_model(fitted.model, plan.labels, dev, args.folder / "classifier", metadata)
    outcome = {"best_epoch": fitted.best_epoch, "stopped": fitted.stopped, "choice": final.choice}
    write_json(args.folder / "metrics.json", plain({**outcome, "dev": final.dev, "dev_frames": final.dev_frames}))
    development = _evaluate_development(LiteRtClassifier(final.files[1], args.threads), dev)
    verdict, command = _verdict(args, dev, development.predictions, final.files[1])
    training = Training(
        fitted,
        final.choice,
        args.data,
        {"training": [face.sample for face in train], "development": [face.sample for face in dev]},
        json.loads((args.folder / "settings.json").read_text("utf-8")),
        faces.duplicates,
        (*faces.train.left_out, *faces.dev.left_out),
        verdict,
        command,
    )
    page = args.folder / "report.html"
    write_report(page, Page(final.metadata, [development], training=training))
    write_charts(args.folder, training, development)
    files = f"{final.files[0]}, {final.files[1]}, {page}"
    console.print(f"{verdict} Next: {command}", soft_wrap=True, markup=False, highlight=False)
    print_choice(console, final.choice, f"best epoch {fitted.best_epoch + 1} ({fitted.stopped}); wrote {files}")


def _verdict(args: argparse.Namespace, dev: list[PooledFace], new: Predictions, path: Path) -> tuple[str, str]:
    """One sentence that compares the new model with the one it began with, or the bundled one, and what to do next."""
    first = args.begin_with
    old = LiteRtClassifier(bundled_model(".tflite"), args.threads) if first is None else KerasClassifier(first)
    name = "the bundled model" if first is None else f"the model {first}"
    metadata = old.metadata
    labels = list(dict.fromkeys((*metadata.labels, *(face.label for face in dev))))
    crops = central_crops(dev, tuple(labels), metadata.input_px, metadata.margin)
    old_right = predict_crops(old, crops).probabilities.argmax(axis=1) == crops.targets
    new_right = new.probabilities.argmax(axis=1) == new.crops.targets
    found = compare(old_right, new_right)
    figures = f"{found.share_text(name, 'the new one')}, which helped to choose the new one"
    if found.interval[0] > 0:
        return f"Better: {figures}.", f"maskwatch watch --model {path}"
    state = "Not better" if found.gained <= found.lost else "Not proven to be better"
    return f"{state}: {figures}; add faces that it has wrong.", f"maskwatch evaluate OTHER_FACES --model {path}"


def print_choice(console: Console, choice: Calibration, message: str) -> None:
    for line in (choice_text(choice), message):  # brackets in a folder name must not become markup
        console.print(line, soft_wrap=True, markup=False)


def _evaluate_development(classifier: LiteRtClassifier, dev: list[PooledFace]) -> ReportedSet:
    """Evaluates the development faces at their own and at equal resolution, with the shortcut probe."""
    metadata, name = classifier.metadata, "development faces"
    crops = central_crops(dev, metadata.labels, metadata.input_px, metadata.margin)
    small = central_crops(dev, metadata.labels, EQUAL_PX, metadata.margin)
    equal = np.array([resize(crop, metadata.input_px, metadata.input_px) for crop in small.images])
    predictions, equalised = (
        predict_crops(classifier, replace(crops, images=images)) for images in (crops.images, equal)
    )
    return ReportedSet(
        report(name, predictions, usual_slices(predictions)),
        predictions,
        report(f"{name} at {EQUAL_PX} px", equalised),
        probe_of(crops),
    )


def pool_of(samples: Sequence[Sample], detector: FaceDetector, console: Console) -> FacePool:
    """The faces of ``samples``; prints those that cannot be used."""
    with console.status(f"reading {len(samples)} faces"):
        pool = build_pool(samples, detector, LOOSE_SETS)
    cut_out = sum(face.sample.box is None and face.whole is None for face in pool.faces)
    if cut_out:
        console.print(f"{counted(cut_out, 'image')} show more than a face: the clearest face was detected and cut out")
    show_left_out(console, pool.left_out)
    return pool

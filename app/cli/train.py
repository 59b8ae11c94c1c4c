"""``maskwatch train``: fine-tuning on one's own pictures, or the shipped recipe on all sources."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.training_options import landmark_detector, resumable
from app.core import resources
from app.core.errors import DataError
from app.core.types import Detection, Image, Label
from app.training.classifier.calibration import Calibration
from app.training.classifier.evaluation import Predictions, report, usual_slices
from app.training.classifier.shipped import load_first_network
from app.training.data.face_pool import (
    FacePool,
    LandmarkDetector,
    PooledFace,
    build_pool,
    central_crops,
    has_pool,
    load_pool,
    save_pool,
    without_bystanders,
)
from app.training.data.hard_negatives import mine_hard_negatives
from app.training.data.samples import Sample, labels_of, show_left_out
from app.training.data.splits import LOOSE_SETS, Splits, training_sources
from app.training.data.user_splits import MIN_FACES, about, check_labels, digest, user_splits
from app.training.networks import KerasModel
from app.training.reports.html_report import Page, Training, write_charts, write_report
from app.training.reports.set_report import ReportedSet, probe_of
from app.training.reports.tables import plain
from app.training.trainer import EpochRecord, Fitted, begin_run, file_facts, limit_threads, write_json
from app.training.types import EQUAL_PX
from app.vision.classifier import LiteRtClassifier
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata
from app.vision.preprocess import limit_opencv_threads, resize
from app.vision.yunet_detector import YuNetDetector

if TYPE_CHECKING:
    from app.training.classifier.augmentation import ClassifierAugmentation
    from app.training.classifier.shipped import ShippedRun

FINE_TUNE_EPOCHS = 10
FINE_TUNE_RATE = 3e-4
GO_ON_RATE = 2e-3
"""For more of what the network was trained on: high enough to leave the valley that the last cosine ended in."""
MIN_STEPS = 20
FALSE_FIND_SCORE = 0.35
"""Below the detector's own threshold: what it nearly takes for a face here, it takes for one elsewhere."""


class NoDetector:
    """Where there is no detector with landmarks: pictures are taken as they are, and no mask is rendered."""

    def detect(self, image: Image) -> list[Detection]:  # noqa: ARG002 - the seam's signature
        return []


def run(args: argparse.Namespace) -> int:

    console = Console()
    limit_opencv_threads(args.threads)
    copies: list[tuple[Path, Path]] = []
    if args.all_sources:
        splits = training_sources(args.data, args.only_faces12k)
    else:
        splits, copies = user_splits(args.data, console)
    begin_run(args.folder, {"data": about(args.data, splits)})  # what is wrong with it is told before the work
    if copies:
        write_json(args.folder / "duplicates.json", plain(copies))
    if args.only_thresholds:
        return choose_thresholds(args, splits.dev, console)
    limit_threads(args.threads)
    begin_with, labels = (None, labels_of(splits.train)) if is_fresh(args) else load_first_network(args.begin_with)
    check_labels(splits, labels)
    if begin_with is not None:
        begin_run(args.folder, {"began_with": file_facts(args.begin_with or resources.model("classifier.keras"))})
    train, dev = _pools(args, splits, console)
    from app.training.classifier.shipped import train_shipped

    plan = plan_of(args, labels, len(train.faces), fine_tuning=begin_with is not None)
    check_seen(args.data, splits, train, dev, plan.augmentation)
    bars = _Bars(console)
    with bars.progress, resumable(console):
        fitted = train_shipped(plan, train.faces, dev.faces, bars.on_step, bars.on_epoch, begin_with)
    _finished(args, plan, fitted, TrainingFaces(train, dev, tuple(copies)), console)
    return 0


def check_seen(
    place: Path, splits: Splits, train: FacePool, dev: FacePool, augmentation: "ClassifierAugmentation"
) -> None:
    """Raises DataError where of a label's faces too few are left to learn from, or none to choose by: a box outside
    its picture, or of a few pixels, teaches nothing."""
    from app.training.classifier.augmentation import is_legible

    for label in labels_of((*splits.train, *splits.dev)):
        given = sum(sample.label == label for sample in splits.train)
        legible = sum(face.label == label and is_legible(face, augmentation) for face in train.faces)
        if legible < MIN_FACES:
            raise DataError(
                f"of {place}'s {given} faces of {label.value} to learn from {legible} can be used, the others are "
                f"under {augmentation.min_native_px:g} px or not in their pictures; at least {MIN_FACES} are needed"
            )
    labels_of(face.sample for face in dev.faces)


@dataclass(frozen=True, slots=True)
class TrainingFaces:
    """``train`` was learned from, ``dev`` chosen by; ``copies`` are pairs of near-duplicates across splits."""

    train: FacePool
    dev: FacePool
    copies: tuple[tuple[Path, Path], ...]


def _pools(args: argparse.Namespace, splits: Splits, console: Console) -> tuple[FacePool, FacePool]:
    detector = landmark_detector(args.threads)
    train = _without_bystanders(args, pool_of(splits.train, detector, args.folder / "train.npz", console))
    dev = _without_bystanders(args, pool_of(splits.dev, detector, args.folder / "dev.npz", console))
    if args.all_sources and not args.only_faces12k:
        frames = [sample for sample in splits.train if sample.box is not None]
        train = replace(train, faces=train.faces + hard_negatives_of(args, frames, detector, console))
    return train, dev


def hard_negatives_of(
    args: argparse.Namespace, frames: Sequence[Sample], teacher: LandmarkDetector, console: Console
) -> list[PooledFace]:
    """What shows no face; searched for once, and kept in the run folder."""
    cache, asked = args.folder / "nothing.npz", f"nothing of {digest(frames, args.data)}"
    if not has_pool(cache, asked):
        with console.status("searching the training frames for false faces"):
            file = resources.model("face_detector.tflite")
            finder = YuNetDetector(file, score=FALSE_FIND_SCORE, threads=args.threads)
            found = mine_hard_negatives(args.data / "crops" / "jnogra" / "not_face", frames, finder, teacher)
            save_pool(build_pool(found, NoDetector()), asked, cache)
    return load_pool(cache).faces


def _without_bystanders(args: argparse.Namespace, pool: FacePool) -> FacePool:
    known = resources.model("classifier.tflite")
    if args.all_sources and known.is_file():
        return replace(pool, faces=without_bystanders(pool.faces, LiteRtClassifier(known, args.threads), LOOSE_SETS))
    return pool


def choose_thresholds(args: argparse.Namespace, samples: Sequence[Sample], console: Console) -> int:
    """Writes the ``--from`` model, its weights as they are, with what ``finalize_model`` chooses on ``samples``."""
    from app.training.classifier.finalize import finalize_model

    path = args.begin_with or resources.model("classifier.keras")
    limit_threads(args.threads)
    model, labels = load_first_network(path)
    check_labels(Splits((), tuple(samples)), labels)
    detector = landmark_detector(args.threads)
    dev = _without_bystanders(args, pool_of(samples, detector, args.folder / "dev.npz", console))
    done = finalize_model(model, labels, dev.faces, args.folder / "classifier", read_classifier_metadata(path))
    write_json(
        args.folder / "metrics.json", plain({"choice": done.choice, "dev": done.dev, "dev_frames": done.dev_frames})
    )
    print_choice(console, done.choice, f"wrote {done.files[0]}, {done.files[1]}")
    return 0


def choice_text(choice: Calibration) -> str:
    if not choice.is_chosen:
        return "too few development faces or mistakes to choose by: temperature and thresholds stay"
    rule = choice.unsure
    return (
        f"chosen on the development faces: offsets {', '.join(map(str, choice.offsets))}, temperature "
        f"{choice.temperature:.2f}, unsure below {rule.min_confidence} or {rule.min_two_way} of the two"
    )


def is_fresh(args: argparse.Namespace) -> bool:
    """Whether it begins with random weights: on all sources unless weights are named, on one's own only if asked."""
    return bool(args.from_scratch or (args.all_sources and args.begin_with is None))


def plan_of(args: argparse.Namespace, labels: tuple[Label, ...], faces: int, fine_tuning: bool) -> "ShippedRun":
    from app.training.classifier.augmentation import ClassifierAugmentation
    from app.training.classifier.shipped import SHIPPED_RECIPE, ShippedRun

    recipe = replace(SHIPPED_RECIPE, seed=args.seed)
    if fine_tuning:
        recipe = replace(recipe, epochs=FINE_TUNE_EPOCHS, learning_rate=FINE_TUNE_RATE, warmup_epochs=0.5)
        if args.all_sources:  # smoothed labels make a network's mistakes as sure as the rest of its answers
            recipe = replace(recipe, learning_rate=GO_ON_RATE, label_smoothing=0.0)
    if args.epochs:
        recipe = replace(recipe, epochs=args.epochs)
    augmentation = ClassifierAugmentation(seed=args.seed, equalise=not args.no_equaliser)
    if args.only_faces12k:
        augmentation = replace(augmentation, synthetic_shares=(0.0, 0.0, 0.0))
    steps = args.steps or (augmentation.steps if args.all_sources else max(MIN_STEPS, faces // augmentation.batch))
    return ShippedRun(args.folder, labels, recipe=recipe, augmentation=replace(augmentation, steps=steps))


class _Bars:
    """The progress of a training on the terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, transient=True)
        self._task = self.progress.add_task("training", total=None, loss="")

    def on_step(self, step: int, steps: int, loss: float) -> None:
        self.progress.update(self._task, completed=step, total=steps, loss=f"loss {loss:.3f}")

    def on_epoch(self, record: EpochRecord, _model: KerasModel) -> None:
        told = f"validation loss {record.val_loss:.4f}, right {record.val_accuracy:.2%}, {record.seconds:.0f} s"
        self.progress.console.print(f"epoch {record.epoch + 1}: {told}")
        self.progress.reset(self._task, description=f"epoch {record.epoch + 2}", loss="")


def _finished(
    args: argparse.Namespace,
    plan: "ShippedRun",
    fitted: Fitted,
    lessons: TrainingFaces,
    console: Console,
) -> None:
    """Model files, metrics, report and its drawings in the run folder."""
    from app.training.classifier.finalize import finalize_model

    train, dev = lessons.train.faces, lessons.dev.faces
    metadata = ClassifierMetadata(
        name="maskwatch",
        labels=plan.labels,
        input_px=plan.network.input_px,
        margin=plan.augmentation.margin,
        trained_on=tuple(sorted({face.source for face in train if face.label in plan.labels})),
    )
    if not is_fresh(args):
        began = read_classifier_metadata(args.begin_with or resources.model("classifier.keras"))
        kept = ("temperature", "min_confidence", "min_two_way", "min_sharpness")
        metadata = metadata.model_copy(update={name: getattr(began, name) for name in kept})
    done = finalize_model(fitted.model, plan.labels, dev, args.folder / "classifier", metadata)
    told = {"best_epoch": fitted.best_epoch, "stopped": fitted.stopped, "choice": done.choice}
    write_json(args.folder / "metrics.json", plain({**told, "dev": done.dev, "dev_frames": done.dev_frames}))
    training = Training(
        fitted,
        done.choice,
        args.data,
        {"training": [face.sample for face in train], "development": [face.sample for face in dev]},
        json.loads((args.folder / "settings.json").read_text("utf-8")),
        lessons.copies,
        (*lessons.train.left_out, *lessons.dev.left_out),
    )
    shown = _shown(LiteRtClassifier(done.files[1], args.threads), dev)
    page = args.folder / "report.html"
    write_report(page, Page(done.metadata, [shown], training=training))
    write_charts(args.folder, training, shown)
    files = f"{done.files[0]}, {done.files[1]}, {page}"
    print_choice(console, done.choice, f"best epoch {fitted.best_epoch + 1} ({fitted.stopped}); wrote {files}")


def print_choice(console: Console, choice: Calibration, words: str) -> None:
    for line in (choice_text(choice), words):  # a folder's name may hold brackets, which are no markup
        console.print(line, soft_wrap=True, markup=False)


def _shown(classifier: LiteRtClassifier, dev: list[PooledFace]) -> ReportedSet:
    """The development faces as they are and at one resolution, with what shortcuts alone would tell."""
    metadata, name = classifier.metadata, "development faces"
    crops = central_crops(dev, metadata.labels, metadata.input_px, metadata.margin)
    small = central_crops(dev, metadata.labels, EQUAL_PX, metadata.margin)
    equal = np.array([resize(crop, metadata.input_px, metadata.input_px) for crop in small.images])
    judged, equalised = (
        Predictions(replace(crops, images=images), classifier.classify(images), metadata)
        for images in (crops.images, equal)
    )
    return ReportedSet(
        report(name, judged, usual_slices(judged)),
        judged,
        report(f"{name} at {EQUAL_PX} px", equalised),
        probe_of(crops),
    )


def pool_of(samples: Sequence[Sample], detector: LandmarkDetector, cache: Path, console: Console) -> FacePool:
    """Read once and kept in the run folder for when it is continued."""
    asked = f"{digest(samples, Path())} {type(detector).__name__}"
    if has_pool(cache, asked):
        pool = load_pool(cache)
    else:
        with console.status(f"reading {len(samples)} faces"):
            pool = build_pool(samples, detector, LOOSE_SETS)
            save_pool(pool, asked, cache)
    show_left_out(console, pool.left_out)
    return pool

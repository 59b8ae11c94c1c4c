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

from app import resources
from app.domain import Detection, Image, Label
from app.errors import DataError, ModelError
from app.train.choose import Choice
from app.train.command import EQUAL_PX, landmark_detector, resumable
from app.train.evaluate import Judged, report, usual_slices
from app.train.fit import EpochRecord, Fitted, begin_run, file_facts, limit_threads, write_json
from app.train.networks import KerasModel
from app.train.nothing import pictures_of_nothing
from app.train.own_data import MIN_FACES, about, check_labels, digest, own_splits
from app.train.pool import (
    Face,
    LandmarkDetector,
    Pool,
    build_pool,
    central_crops,
    has_pool,
    load_pool,
    save_pool,
    without_bystanders,
)
from app.train.report import Page, Training, write_charts, write_report
from app.train.samples import Sample, labels_of, show_left_out
from app.train.shown import ShownSet, probe_of
from app.train.sources import LOOSE_SETS, Splits, training_sources
from app.train.tables import plain
from app.vision.classify import LiteRtClassifier
from app.vision.modelfile import ClassifierFacts, read_classifier_facts
from app.vision.preprocess import resize
from app.vision.yunet_detector import YuNetDetector

if TYPE_CHECKING:
    from app.train.shipped import ShippedRun
    from app.train.wild import WildSettings

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
    import cv2

    console = Console()
    cv2.setNumThreads(args.threads)
    copies: list[tuple[Path, Path]] = []
    if args.all_sources:
        splits = training_sources(args.data, args.only_faces12k)
    else:
        splits, copies = own_splits(args.data, console)
    begin_run(args.folder, {"data": about(args.data, splits)})  # what is wrong with it is told before the work
    if copies:
        write_json(args.folder / "duplicates.json", plain(copies))
    if args.only_thresholds:
        return choose_thresholds(args, splits.dev, console)
    limit_threads(args.threads)
    begin_with, labels = (None, labels_of(splits.train)) if is_fresh(args) else start(args.begin_with)
    check_labels(splits, labels)
    if begin_with is not None:
        begin_run(args.folder, {"began_with": file_facts(args.begin_with or resources.model("classifier.keras"))})
    train, dev = _pools(args, splits, console)
    from app.train.shipped import train_shipped

    plan = plan_of(args, labels, len(train.faces), fine_tuning=begin_with is not None)
    check_seen(args.data, splits, train, dev, plan.wild)
    bars = _Bars(console)
    with bars.progress, resumable(console):
        fitted = train_shipped(plan, train.faces, dev.faces, bars.on_step, bars.on_epoch, begin_with)
    _finished(args, plan, fitted, Lessons(train, dev, tuple(copies)), console)
    return 0


def check_seen(place: Path, splits: Splits, train: Pool, dev: Pool, wild: "WildSettings") -> None:
    """Raises DataError where of a label's faces too few are left to learn from, or none to choose by: a box outside
    its picture, or of a few pixels, teaches nothing."""
    from app.train.wild import is_legible

    for label in labels_of((*splits.train, *splits.dev)):
        given = sum(sample.label == label for sample in splits.train)
        legible = sum(face.label == label and is_legible(face, wild) for face in train.faces)
        if legible < MIN_FACES:
            raise DataError(
                f"of {place}'s {given} faces of {label.value} to learn from {legible} can be used, the others are "
                f"under {wild.min_native_px:g} px or not in their pictures; at least {MIN_FACES} are needed"
            )
    labels_of(face.sample for face in dev.faces)


@dataclass(frozen=True, slots=True)
class Lessons:
    """``train`` was learned from, ``dev`` chosen by; ``copies`` are pairs of near-duplicates across splits."""

    train: Pool
    dev: Pool
    copies: tuple[tuple[Path, Path], ...]


def _pools(args: argparse.Namespace, splits: Splits, console: Console) -> tuple[Pool, Pool]:
    detector = landmark_detector(args.threads)
    train = _without_bystanders(args, pool_of(splits.train, detector, args.folder / "train.npz", console))
    dev = _without_bystanders(args, pool_of(splits.dev, detector, args.folder / "dev.npz", console))
    if args.all_sources and not args.only_faces12k:
        frames = [sample for sample in splits.train if sample.box is not None]
        train = replace(train, faces=train.faces + nothing_of(args, frames, detector, console))
    return train, dev


def nothing_of(
    args: argparse.Namespace, frames: Sequence[Sample], teacher: LandmarkDetector, console: Console
) -> list[Face]:
    """What shows no face; searched for once, and kept in the run folder."""
    cache, asked = args.folder / "nothing.npz", f"nothing of {digest(frames, args.data)}"
    if not has_pool(cache, asked):
        with console.status("searching the training frames for false faces"):
            file = resources.model("face_detector.tflite")
            finder = YuNetDetector(file, score=FALSE_FIND_SCORE, threads=args.threads)
            found = pictures_of_nothing(args.data / "crops" / "jnogra" / "not_face", frames, finder, teacher)
            save_pool(build_pool(found, NoDetector()), asked, cache)
    return load_pool(cache).faces


def _without_bystanders(args: argparse.Namespace, pool: Pool) -> Pool:
    known = resources.model("classifier.tflite")
    if args.all_sources and known.is_file():
        return replace(pool, faces=without_bystanders(pool.faces, LiteRtClassifier(known, args.threads), LOOSE_SETS))
    return pool


def choose_thresholds(args: argparse.Namespace, samples: Sequence[Sample], console: Console) -> int:
    """Writes the ``--from`` model, its weights as they are, with what ``finish`` chooses on ``samples``."""
    from app.train.finish import finish

    path = args.begin_with or resources.model("classifier.keras")
    limit_threads(args.threads)
    model, labels = start(path)
    check_labels(Splits((), tuple(samples)), labels)
    detector = landmark_detector(args.threads)
    dev = _without_bystanders(args, pool_of(samples, detector, args.folder / "dev.npz", console))
    done = finish(model, labels, dev.faces, args.folder / "classifier", read_classifier_facts(path))
    write_json(
        args.folder / "metrics.json", plain({"choice": done.choice, "dev": done.dev, "dev_frames": done.dev_frames})
    )
    tell_end(console, done.choice, f"wrote {done.files[0]}, {done.files[1]}")
    return 0


def choice_words(choice: Choice) -> str:
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
    from app.train.shipped import SHIPPED_RECIPE, ShippedRun
    from app.train.wild import WildSettings

    recipe = replace(SHIPPED_RECIPE, seed=args.seed)
    if fine_tuning:
        recipe = replace(recipe, epochs=FINE_TUNE_EPOCHS, learning_rate=FINE_TUNE_RATE, warmup_epochs=0.5)
        if args.all_sources:  # smoothed labels make a network's mistakes as sure as the rest of its answers
            recipe = replace(recipe, learning_rate=GO_ON_RATE, label_smoothing=0.0)
    if args.epochs:
        recipe = replace(recipe, epochs=args.epochs)
    wild = WildSettings(seed=args.seed, equalise=not args.no_equaliser)
    if args.only_faces12k:
        wild = replace(wild, synthetic_shares=(0.0, 0.0, 0.0))
    steps = args.steps or (wild.steps if args.all_sources else max(MIN_STEPS, faces // wild.batch))
    return ShippedRun(args.folder, labels, recipe=recipe, wild=replace(wild, steps=steps))


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
    lessons: Lessons,
    console: Console,
) -> None:
    """Model files, metrics, report and its drawings in the run folder."""
    from app.train.finish import finish

    train, dev = lessons.train.faces, lessons.dev.faces
    facts = ClassifierFacts(
        name="maskwatch",
        labels=plan.labels,
        input_px=plan.network.input_px,
        margin=plan.wild.margin,
        trained_on=tuple(sorted({face.source for face in train if face.label in plan.labels})),
    )
    if not is_fresh(args):
        began = read_classifier_facts(args.begin_with or resources.model("classifier.keras"))
        kept = ("temperature", "min_confidence", "min_two_way", "min_sharpness")
        facts = facts.model_copy(update={name: getattr(began, name) for name in kept})
    done = finish(fitted.model, plan.labels, dev, args.folder / "classifier", facts)
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
    write_report(page, Page(done.facts, [shown], training=training))
    write_charts(args.folder, training, shown)
    files = f"{done.files[0]}, {done.files[1]}, {page}"
    tell_end(console, done.choice, f"best epoch {fitted.best_epoch + 1} ({fitted.stopped}); wrote {files}")


def tell_end(console: Console, choice: Choice, words: str) -> None:
    for line in (choice_words(choice), words):  # a folder's name may hold brackets, which are no markup
        console.print(line, soft_wrap=True, markup=False)


def _shown(classifier: LiteRtClassifier, dev: list[Face]) -> ShownSet:
    """The development faces as they are and at one resolution, with what shortcuts alone would tell."""
    facts, name = classifier.facts, "development faces"
    crops = central_crops(dev, facts.labels, facts.input_px, facts.margin)
    small = central_crops(dev, facts.labels, EQUAL_PX, facts.margin)
    equal = np.array([resize(crop, facts.input_px, facts.input_px) for crop in small.images])
    judged, equalised = (
        Judged(replace(crops, images=images), classifier.classify(images), facts) for images in (crops.images, equal)
    )
    return ShownSet(
        report(name, judged, usual_slices(judged)),
        judged,
        report(f"{name} at {EQUAL_PX} px", equalised),
        probe_of(crops),
    )


def pool_of(samples: Sequence[Sample], detector: LandmarkDetector, cache: Path, console: Console) -> Pool:
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


def start(path: Path | None) -> tuple[KerasModel, tuple[Label, ...]]:
    """The network to fine-tune and its labels. Raises ModelError where it cannot be."""
    import keras

    from app.train.networks import ShippedNetwork, build_shipped

    path = path or resources.model("classifier.keras")
    facts = read_classifier_facts(path)
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError) as error:
        raise ModelError(f"{path} cannot be fine-tuned: {str(error).splitlines()[0]}; use --from-scratch") from error
    ours = build_shipped(replace(ShippedNetwork(), classes=len(facts.labels)))
    if [weights.shape for weights in model.get_weights()] != [weights.shape for weights in ours.get_weights()]:
        raise ModelError(f"{path} cannot be fine-tuned: it is another network than the shipped one; use --from-scratch")
    return model, facts.labels

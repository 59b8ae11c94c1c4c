"""``maskwatch train``: fine-tuning on one's own pictures, or the shipped recipe on all sources."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app import resources
from app.domain import Detection, Image, Label
from app.errors import DataError, ModelError
from app.train.command import landmark_detector
from app.train.evaluate import Judged, report
from app.train.fit import EpochRecord, Fitted, begin_run, limit_threads, write_json
from app.train.hashes import shared_pictures
from app.train.networks import KerasModel
from app.train.pool import Face, LandmarkDetector, build_pool, central_crops, load_pool, save_pool, without_bystanders
from app.train.report import write_report
from app.train.samples import Sample, find_samples, labels_of, left_out_lines
from app.train.sources import LOOSE_SETS, Splits, photograph, share, training_sources
from app.train.tables import plain
from app.vision.classify import LiteRtClassifier
from app.vision.modelfile import ClassifierFacts, read_classifier_facts

if TYPE_CHECKING:
    from app.train.shipped import ShippedRun

MIN_FACES = 20
DEV_SHARE = 0.15
FINE_TUNE_EPOCHS = 10
FINE_TUNE_RATE = 3e-4
GO_ON_RATE = 2e-3
"""For more of what the network was trained on: high enough to leave the valley that the last cosine ended in."""
MIN_STEPS = 20


class NoDetector:
    """Where there is no detector with landmarks: pictures are taken as they are, and no mask is rendered."""

    def detect(self, image: Image) -> list[Detection]:  # noqa: ARG002 - the seam's signature
        return []


def run(args: argparse.Namespace) -> int:
    import cv2

    console = Console()
    cv2.setNumThreads(args.threads)
    splits = training_sources(args.data, args.only_faces12k) if args.all_sources else own_splits(args.data, console)
    begin_run(args.folder, {"data": str(args.data)})  # an unwritable folder is told before the work, not after it
    if args.only_thresholds:
        return choose_thresholds(args, splits.dev, console)
    train, dev = _pools(args, splits, console)
    limit_threads(args.threads)
    from app.train.shipped import train_shipped

    begin_with, labels = (None, labels_of(splits.train)) if is_fresh(args) else start(args.begin_with)
    plan = plan_of(args, labels, len(train), fine_tuning=begin_with is not None)
    bars = _Bars(console)
    with bars.progress:
        fitted = train_shipped(plan, train, dev, bars.on_step, bars.on_epoch, begin_with)
    _finished(args, plan, fitted, dev, tuple(sorted({sample.source for sample in splits.train})), console)
    return 0


def _pools(args: argparse.Namespace, splits: Splits, console: Console) -> tuple[list[Face], list[Face]]:
    detector = landmark_detector(args.landmarks, args.data) or NoDetector()
    train = faces_of(splits.train, detector, args.folder / "train.npz", console)
    dev = faces_of(splits.dev, detector, args.folder / "dev.npz", console)
    return _without_bystanders(args, train), _without_bystanders(args, dev)


def _without_bystanders(args: argparse.Namespace, faces: list[Face]) -> list[Face]:
    known = resources.model("classifier.tflite")
    if args.all_sources and known.is_file():
        return without_bystanders(faces, LiteRtClassifier(known, args.threads), LOOSE_SETS)
    return faces


def choose_thresholds(args: argparse.Namespace, samples: Sequence[Sample], console: Console) -> int:
    """Writes the ``--from`` model, its weights as they are, with what ``finish`` chooses on ``samples``."""
    from app.train.finish import finish

    path = args.begin_with or resources.model("classifier.keras")
    limit_threads(args.threads)
    model, labels = start(path)
    detector = landmark_detector(args.landmarks, args.data) or NoDetector()
    dev = _without_bystanders(args, faces_of(samples, detector, args.folder / "dev.npz", console))
    done = finish(model, labels, dev, args.folder / "classifier", read_classifier_facts(path))
    write_json(
        args.folder / "metrics.json", plain({"choice": done.choice, "dev": done.dev, "dev_frames": done.dev_frames})
    )
    console.print(f"{done.choice}; wrote {done.files[0]}, {done.files[1]}")
    return 0


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
    dev: list[Face],
    trained_on: tuple[str, ...],
    console: Console,
) -> None:
    """Model files, metrics and report in the run folder."""
    from app.train.finish import finish

    facts = ClassifierFacts(
        name="maskwatch",
        labels=plan.labels,
        input_px=plan.network.input_px,
        margin=plan.wild.margin,
        trained_on=trained_on,
    )
    done = finish(fitted.model, plan.labels, dev, args.folder / "classifier", facts)
    told = {"best_epoch": fitted.best_epoch, "stopped": fitted.stopped, "choice": done.choice}
    write_json(args.folder / "metrics.json", plain({**told, "dev": done.dev, "dev_frames": done.dev_frames}))
    crops = central_crops(dev, plan.labels, done.facts.input_px, done.facts.margin)
    judged = Judged(crops, LiteRtClassifier(done.files[1], args.threads).classify(crops.images), done.facts)
    page = args.folder / "report.html"
    write_report(page, done.facts, [report("development faces", judged)], [judged], fitted.history)
    console.print(
        f"best epoch {fitted.best_epoch + 1} ({fitted.stopped}); wrote {done.files[0]}, {done.files[1]}, {page}"
    )


def own_splits(place: Path, console: Console) -> Splits:
    """The user's own splits; without any, a share of the photographs becomes the development split.

    Near-duplicates of development pictures are taken out of training, and told.
    Raises DataError where a class is missing or there are too few faces.
    """
    everything = find_samples(place)
    for line in left_out_lines(everything.left_out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    found = everything.splits
    samples = found.get("train") or [sample for name, part in found.items() if name != "validation" for sample in part]
    dev = found.get("validation")
    if dev is None:
        dev = [sample for sample in samples if share(photograph(sample.path)) < DEV_SHARE]
        samples = [sample for sample in samples if share(photograph(sample.path)) >= DEV_SHARE]
    labels = labels_of(samples)
    for label in labels:
        count = sum(sample.label == label for sample in samples)
        if count < MIN_FACES:
            raise DataError(
                f"{place} has {count} faces of {label.value} to learn from; at least {MIN_FACES} are needed"
            )
    labels_of(dev)
    doubled = {first for first, _ in shared_pictures(sorted({s.path for s in samples}), sorted({s.path for s in dev}))}
    if doubled:
        console.print(
            f"{len(doubled)} training pictures nearly equal development pictures; they are left out of training"
        )
    return Splits(tuple(sample for sample in samples if sample.path not in doubled), tuple(dev))


def faces_of(samples: Sequence[Sample], detector: LandmarkDetector, cache: Path, console: Console) -> list[Face]:
    """The faces, read once and kept in the run folder for when it is continued."""
    if cache.is_file():
        return load_pool(cache)
    with console.status(f"reading {len(samples)} faces"):
        faces = build_pool(samples, detector, LOOSE_SETS)
        save_pool(faces, cache)
    return faces


def start(path: Path | None) -> tuple[KerasModel, tuple[Label, ...]]:
    """The network to fine-tune and its labels. Raises ModelError where it cannot be."""
    import keras

    path = path or resources.model("classifier.keras")
    facts = read_classifier_facts(path)
    try:
        return keras.models.load_model(path, compile=False), facts.labels
    except (ValueError, OSError, TypeError) as error:
        raise ModelError(f"{path} cannot be fine-tuned: {str(error).splitlines()[0]}; use --from-scratch") from error

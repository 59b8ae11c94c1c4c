"""``maskwatch improve``: a better classifier, or better thresholds, from the verdicts on your own cameras."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.event_file import add_event_file_options, collected_of, make_console, open_store, settings_of
from app.core.errors import DataError, OutputError, SettingsError
from app.core.text import counted
from app.core.types import Label
from app.settings.flags import config_path

MIN_REPLAY = 20
"""Faces of each label that ``--replay`` needs."""

if TYPE_CHECKING:
    from app.review.collected import CollectedFaces
    from app.settings.root import Settings
    from app.training.classifier.head import HeadModel
    from app.training.classifier.improvement import Improvement, OwnFace
    from app.training.classifier.replay import ReplaySample
    from app.vision.model_versions import ModelVersions

SEED = 42


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "improve", help="learn from the verdicts on collected faces, or choose thresholds", description=run.__doc__
    )
    add_event_file_options(parser)
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FOLDER",
        help="labelled faces that it must not forget (default: a bundled sample)",
    )
    parser.add_argument(
        "--false-alerts-per-day",
        type=float,
        metavar="N",
        help="instead: choose policy.min_label_confidence of each camera for at most N false alerts per day, from the "
        "verdicts on its alerts",
    )
    parser.add_argument("--save", action="store_true", help="with --false-alerts-per-day: write them into --config")
    parser.set_defaults(run=run)


def versions_of(args: argparse.Namespace) -> "ModelVersions":
    """The versions that belong to the event file."""
    from app.vision.model_versions import ModelVersions

    store = settings_of(args).store
    return ModelVersions(store.with_name(f"{store.name}.models"))


def run(args: argparse.Namespace) -> int:
    """Trains the last layer of the classifier in use on collected faces with a label, in seconds. The latest 30 % of
    them are held back; only a model that is better on these, and forgets nothing, becomes a version. No picture leaves
    this machine."""
    if args.false_alerts_per_day is not None:
        return _choose_thresholds(args)
    from app.review.collected import CollectedFaces
    from app.review.picture_folder import PictureFolder, day_of
    from app.settings.load import load_settings
    from app.training.classifier.head import HeadModel
    from app.training.classifier.improvement import improve
    from app.training.classifier.replay import read_replay
    from app.vision.classifier import default_model

    model = HeadModel(load_settings(config_path(args)).classifier.model or default_model(".tflite"))
    replay = _own_replay(model, args.replay) if args.replay else read_replay(model)
    faces = _labelled(CollectedFaces(PictureFolder(collected_of(args))), model.metadata.labels)
    console = make_console()
    with console.status(f"learning from {counted(len(faces), 'face')}"):
        done = improve(model, replay, faces, [day_of(each.wall_s) for each in faces], SEED)
    result = _result_text(done)
    if not done.is_better:
        console.print(f"{result}\n{_details(done)}")
        return 0
    versions, metadata = versions_of(args), model.metadata
    try:
        version = versions.add(
            model.fingerprint_with(done.weights), lambda path: model.write(path, done.weights, metadata), result
        )
    except OSError as error:
        raise OutputError(f"cannot write {versions.folder}: {error.strerror or error}; free some disk space") from error
    options = "".join(
        f" --{name} {shlex.quote(value)}" for name in ("config", "store") if (value := getattr(args, name))
    )
    command = f"maskwatch models use {version.fingerprint}{options or ' --config FILE'}"
    console.print(f"{result} Use it: {command}\n{_details(done)}")
    return 0


def _own_replay(model: "HeadModel", folder: Path) -> "ReplaySample":
    """The features of the user's own labelled faces; a third of them is not learned."""
    import numpy as np

    from app.training.classifier.replay import ReplaySample
    from app.training.data.crops import load_crops
    from app.training.data.samples import find_samples

    samples = [sample for split in find_samples(folder).splits.values() for sample in split]
    labels = model.metadata.labels
    crops = load_crops(samples, labels, model.metadata.input_px, model.metadata.margin)
    few = [label for i, label in enumerate(labels) if np.count_nonzero(crops.targets == i) < MIN_REPLAY]
    if few:
        raise DataError(
            f"{folder} has fewer than {MIN_REPLAY} readable faces labelled {', '.join(few)}; add some, because a label "
            "without faces can be forgotten unnoticed"
        )
    is_guard = np.random.default_rng(SEED).random(len(crops.targets)) < 1 / 3
    features = model.features(crops.images)
    return ReplaySample(features, crops.targets, is_guard, labels, model.fingerprint)


def _labelled(collected: "CollectedFaces", labels: Sequence[Label]) -> "list[OwnFace]":
    """The faces with a label that the model knows, oldest first."""
    import numpy as np

    from app.review.collected import CROP
    from app.training.classifier.improvement import OwnFace
    from app.training.data.face_pool import PooledFace
    from app.training.data.images import read_image
    from app.training.types import Sample

    faces = []
    for each in collected.faces():
        label, path = each.known_label, collected.folder.file(each.id, CROP)
        image = read_image(path) if label in labels else None
        if label is None or image is None:
            continue
        sample = Sample(path, label, each.camera, each.crop_box)
        patch = np.ascontiguousarray(image[..., ::-1])  # RGB
        face = PooledFace(patch, label, each.camera, sample, None, each.crop_box, None, each.crop_box.size)
        faces.append(OwnFace(face, each.wall_s, each.score))
    return faces


def _result_text(done: "Improvement") -> str:
    """One sentence with the verdict."""
    found = done.comparison
    figures = "Of your own cameras, " + found.share_text("the model in use", "the new one")
    if done.forgets:
        label = max(done.forgotten, key=lambda each: done.forgotten[each])
        fall = 100 * done.forgotten[label]
        return (
            f"{figures}, but it forgets other faces: of {label}, {fall:.1f} % fewer are right; keep the model in use."
        )
    if done.is_better:
        return f"{figures}: better."
    if done.more_verdicts:
        return f"{figures}: not proven yet; about {counted(done.more_verdicts, 'more verdict')} are needed."
    return f"{figures}: not better; keep the model in use."


def _details(done: "Improvement") -> str:
    found, worst = done.comparison, max(done.forgotten.values())
    objects = (
        f" {done.still_faces} of {counted(done.objects, 'detection')} that you called no face still count as faces: "
        "paint such places black (blackout of the camera), or leave them out of policy.regions."
    )
    return (
        f"Learned {counted(done.learned, 'face')}, compared on the {found.faces} latest: {found.gained} are right only "
        f"with the new model, {found.lost} only with the one in use. On the replay sample, the right answers of one "
        f"label fall by at most {100 * max(worst, 0):.1f} points.{objects if done.still_faces else ''}"
    )


def _choose_thresholds(args: argparse.Namespace) -> int:
    from app.alerts.marks import read_marks
    from app.review.alert_rate import MIN_VERDICTS, alert_rates
    from app.settings.load import load_settings

    path, wanted = config_path(args), args.false_alerts_per_day
    if not wanted > 0:
        raise SettingsError("--false-alerts-per-day: give a number above 0, such as 0.5")
    if args.save and path is None:
        raise SettingsError("--save needs --config FILE, the settings file to change")
    with open_store(args) as store:
        events = store.events()
        rates = alert_rates(events, read_marks(store, [event.id for event in events]), store.hours())
    if not rates:
        raise DataError(f"no camera has {MIN_VERDICTS} alerts with a verdict; give more on the review page")
    settings = load_settings(path)
    for rate in rates:
        threshold, used = rate.threshold_for(wanted), _threshold_of(settings, rate.camera)
        judged = f"{rate.judged} of {counted(rate.alerts, 'alert')} have a verdict"
        seen = f"{rate.camera}: {rate.false_per_day():.2g} false alerts per day ({judged})"
        if threshold is None:
            print(f"{seen}: no threshold reaches {wanted:g}; try 'maskwatch improve' without this option")
            continue
        if threshold <= used:  # what the present one holds back is not known
            print(f"{seen}: policy.min_label_confidence = {used:g}, as it is, is enough")
            continue
        lost = len(rate.right) - rate.kept(threshold)
        print(
            f"{seen}; policy.min_label_confidence = {threshold:g} leaves {rate.false_per_day(threshold):.2g} and loses "
            f"{lost} of {counted(len(rate.right), 'right alert')}"
        )
        if args.save and path is not None:
            from app.ui.region_editor import save_policy

            is_own = rate.camera in {each.name for each in settings.camera}
            if not is_own and ("camera" in settings.model_fields_set or len(rates) > 1):
                print(f"not saved: {path} has no camera '{rate.camera}'; add it as [[camera]]")
                continue
            save_policy(path, rate.camera, "min_label_confidence", threshold)
            print(f"saved in {path}")
    return 0


def _threshold_of(settings: "Settings", camera: str) -> float:
    """The policy.min_label_confidence of ``camera``."""
    own = next((each for each in settings.camera if each.name == camera), None)
    return (own.policy_over(settings.policy) if own else settings.policy).min_label_confidence

"""``maskwatch improve``: better models, or better thresholds, from the verdicts on your own cameras."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.arguments import positive
from app.cli.event_file import add_event_file_options, folder_of, make_console, open_store, settings_of
from app.core.errors import DataError, ModelError, SettingsError
from app.core.files import output_errors
from app.core.text import counted
from app.core.types import Label
from app.settings.flags import config_path

MIN_REPLAY = 20
"""Faces of each label that ``--replay`` needs."""

if TYPE_CHECKING:
    from app.review.collected import CollectedFaces
    from app.settings.root import Settings
    from app.settings.vision import DetectorSettings
    from app.training.classifier.head import HeadModel
    from app.training.classifier.improvement import Improvement, OwnFace
    from app.training.classifier.replay import ReplaySample
    from app.training.types import Scene
    from app.vision.model_versions import ModelVersions

SEED = 42
OPEN_DETECTOR = (
    "The detector was not trained: its replay sample comes from scenes for research only, and the settings choose the "
    "open models."
)
_SCENE_BYTES = 500_000_000
"""Memory for decoded scenes."""


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
        type=positive,
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
    """Trains the last layers of the classifier and of the detector in use on collected faces with a label, in minutes.
    The latest 30 % of them are held back; only a model that is better on these, and forgets nothing, becomes a version.
    No picture leaves this machine."""
    if args.false_alerts_per_day is not None:
        return _choose_thresholds(args)
    from app.review.collected import CollectedFaces
    from app.review.picture_folder import PictureFolder, day_of
    from app.settings.load import load_settings
    from app.training.classifier.head import HeadModel
    from app.training.classifier.improvement import improve
    from app.training.classifier.replay import read_replay
    from app.vision.classifier import bundled_model

    settings = load_settings(config_path(args))
    model = HeadModel(settings.classifier.model or bundled_model(".tflite", settings.classifier.models))
    replay = _own_replay(model, args.replay) if args.replay else read_replay(model)
    collected = CollectedFaces(PictureFolder(folder_of(args, "collect")))
    faces = _labelled(collected, model.metadata.labels)
    console = make_console()
    with console.status(f"learning from {counted(len(faces), 'face')}"):
        done = improve(model, replay, faces, [day_of(each.wall_s) for each in faces], SEED)
        metadata = model.metadata
        result, details = _result_text(done), _details(done)
        if done.is_better:
            fingerprint = model.fingerprint_with(done.weights)
            result += _keep(args, fingerprint, lambda path: model.write(path, done.weights, metadata), result)
        if settings.classifier.models == "open":
            detector_result, detector_details = "", OPEN_DETECTOR
        else:
            detector_result, detector_details = _improve_detector(args, settings.detector, collected)
    console.print("\n".join(filter(None, (result, detector_result, details, detector_details))))
    return 0


def _keep(args: argparse.Namespace, fingerprint: str, write: Callable[[Path], None], result: str) -> str:
    """Makes a version. Returns how to use it."""
    versions = versions_of(args)
    with output_errors(versions.folder, "free some disk space"):
        version = versions.add(fingerprint, write, result)
    options = "".join(
        f" --{name} {shlex.quote(value)}" for name in ("config", "store") if (value := getattr(args, name))
    )
    return f" Use it: maskwatch models use {version.fingerprint}{options or ' --config FILE'}"


def _improve_detector(
    args: argparse.Namespace, settings: "DetectorSettings", collected: "CollectedFaces"
) -> tuple[str, str]:
    """One sentence with the verdict on the detector, and the details."""
    from app.training.classifier.improvement import MIN_FACES, held_back
    from app.training.data.images import ImageCache
    from app.training.detector.cells import read_replay_cells
    from app.training.detector.head import DetectorHead
    from app.training.detector.improvement import COUNTS_SCORE, improve_detector
    from app.vision.backend_choice import resolved_detector
    from app.vision.backends import runs_onnx
    from app.vision.detector_loader import load_detector
    from app.vision.model_metadata import fingerprint
    from app.vision.yunet_detector import detector_file

    settings = resolved_detector(settings)
    if settings.kind != "cnn" or runs_onnx(settings.backend):
        return (
            "",
            "The detector was not trained: only the default detector with the back end litert or openvino can be.",
        )
    scenes, times_s, days = _scenes(collected)
    if len(scenes) < MIN_FACES:
        return "", (
            f"The detector was not trained: {len(scenes)} whole pictures of faces with a label were collected, "
            f"{MIN_FACES} are needed (collect.scenes keeps them)."
        )
    try:
        head = DetectorHead(detector_file(settings))
        done = improve_detector(
            head,
            read_replay_cells(head),
            scenes,
            held_back(times_s, days),
            ImageCache(_SCENE_BYTES).get,
            lambda path: load_detector(settings.model_copy(update={"model": path, "score": COUNTS_SCORE})),
            SEED,
        )
    except (DataError, ModelError) as error:  # also of a picture that was deleted meanwhile
        return "", f"The detector was not trained: {error}"
    if done is None:
        return "", "The detector has nothing to learn: it is right about all collected faces and objects."
    result = f"Of your own scenes, {done.comparison.share_text('the detector in use', 'the new one')}"
    if done.forgets:
        result += ", but it forgets other faces or finds false ones; keep the detector in use."
    elif done.is_better:
        result += ": better."
        result += _keep(args, fingerprint(done.network), lambda path: head.write(path, done.network), result)
    elif done.comparison.more_verdicts:
        result += f": not proven yet; about {counted(done.comparison.more_verdicts, 'more verdict')} are needed."
    else:
        result += ": not better; keep the detector in use."
    return result, (
        f"The detector learned {counted(done.learned, 'scene')}. On the replay sample it finds "
        f"{100 * max(done.forgotten, 0):.1f} % fewer faces and {done.false_boxes:+d} false ones."
    )


def _scenes(collected: "CollectedFaces") -> "tuple[list[Scene], list[float], list[str]]":
    """The whole pictures of faces with a label, oldest first, with their times and days."""
    from app.review.collected import SCENE
    from app.review.picture_folder import day_of
    from app.training.data.images import read_image
    from app.training.types import Scene, SceneFace

    scenes, times_s = [], []
    for each in collected.faces():
        path = collected.folder.file(each.id, SCENE)
        if each.known_label is not None and read_image(path) is not None:
            scenes.append(Scene(path, each.camera, (SceneFace(each.box, each.known_label),), each.others))
            times_s.append(each.wall_s)
    return scenes, times_s, [day_of(wall_s) for wall_s in times_s]


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
    if done.comparison.more_verdicts:
        return f"{figures}: not proven yet; about {counted(done.comparison.more_verdicts, 'more verdict')} are needed."
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

"""A simulated month: three cameras with a planted weakness, verdicts on half of the days, improve, the other half.

    python benchmarks/month.py ../shared/data --browser --json docs/results/month.json

The weakness is planted in the last layer of the bundled classifier: it takes yellow masks for bare faces. Each day
people pass three cameras: bare faces (UTKFace), masks (faces12k), yellow masks and the six real videos; no model was
trained on any of them. In the first half of the month only the entrance sees yellow masks. All its events get a verdict
and the other collected faces a label: by a script, and with ``--browser`` also on the pages in Chromium, from an equal
folder; both must give the same labels and the same model. Then ``improve`` runs. The second half shows yellow masks of
another shade, on other people, at the other cameras and in other light; every visit is analysed with both classifiers.
"""

import argparse
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import make_clip  # noqa: E402

from app.alerts.event_store import EventStore  # noqa: E402
from app.alerts.store_types import WriteBatch  # noqa: E402
from app.cli.main import main as maskwatch  # noqa: E402
from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Event, Frame, FrameResult, Image, Label, StageTimes  # noqa: E402
from app.pipeline.event_factory import EventFactory  # noqa: E402
from app.pipeline.frame_analyzer import FrameAnalyzer  # noqa: E402
from app.review.collected import CollectedFaces  # noqa: E402
from app.review.collector import Collector  # noqa: E402
from app.review.picture_folder import PictureFolder  # noqa: E402
from app.settings.monitor import PolicySettings  # noqa: E402
from app.settings.review import CollectSettings  # noqa: E402
from app.settings.vision import DetectorSettings, TrackingSettings  # noqa: E402
from app.training.classifier.augmentation import ClassifierAugmentation, augmented_crop  # noqa: E402
from app.training.classifier.head import HeadModel  # noqa: E402
from app.training.classifier.improvement import fit  # noqa: E402
from app.training.classifier.replay import read_replay  # noqa: E402
from app.training.classifier.synthetic_masks import face_axes  # noqa: E402
from app.training.data.face_pool import PooledFace, landmark_detector  # noqa: E402
from app.training.data.splits import held_out_utkface  # noqa: E402
from app.training.types import Sample  # noqa: E402
from app.vision.classifier import LiteRtClassifier  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402
from app.vision.model_metadata import kind_of  # noqa: E402
from app.vision.model_versions import ModelVersions  # noqa: E402

WIDTH, HEIGHT, FPS, SECONDS = 480, 270, 4, 3.25
DAY_S, MIDDLE_S = 86_400.0, time.time()
CAMERAS = ("entrance", "hall", "yard")
TRUTH = {"bare": Label.NO_MASK, "mask": Label.MASK, "yellow mask": Label.MASK}
SHADES = ((40, 200, 235), (70, 215, 245), (45, 190, 225))
"""Yellow (BGR): of the first half, of the second, and of the masks with which the weakness is planted."""
VIDEOS = (
    ("talking_bare.mp4", "putting_on_8058269.mp4"),
    ("woman_mask_720p.mp4", "classroom_8363849.mp4"),
    ("street_walk_4830562.mp4", "corridor_one_by_one.mp4"),
)
"""The real videos that each camera shows once in each half."""


@dataclass(frozen=True)
class Visit:
    """Who stands before a camera. ``day``: negative in the first half, which ends now. ``video``: a real video instead
    of a rendered visit."""

    day: int
    camera: int
    kind: str
    portrait: Image | None = None
    video: Path | None = None
    seed: int = 0


def yellow_mask(face: Image, landmarks: NDArray[np.float32], shade: tuple[int, ...]) -> Image | None:
    """A plain mask with the light of the face; None if the face is turned too far."""
    axes = face_axes(landmarks)
    if axes is None:
        return None
    outline = [(-0.95, 0.35), (0, 0.02), (0.95, 0.35), (0.85, 1.05), (0.45, 1.65), (-0.45, 1.65), (-0.85, 1.05)]
    cover = np.zeros(face.shape[:2], np.uint8)
    cv2.fillPoly(cover, [axes.at(*outline).astype(np.int32)], 255, cv2.LINE_AA)
    share = cv2.GaussianBlur(cover, (5, 5), 0)[..., None] / 255.0
    light = cv2.GaussianBlur(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), 9)[..., None]
    return np.clip(face * (1 - share) + np.array(shade) * light / light.mean() * share, 0, 255).astype(np.uint8)


def portraits(data: Path, rng: random.Random) -> dict[str, list[list[Image]]]:
    """Faces by kind: of the first half, of the second half, and for ``planted`` those with which it is planted."""
    bare = sorted(path for path in (data / "crops/utkface/no_mask").iterdir() if held_out_utkface(path))
    masks = sorted(p for p in (data / "faces12k/Test/WithMask").iterdir() if not p.name.startswith("Augmented_"))
    rng.shuffle(bare)
    detector = landmark_detector(1)
    yellow: list[list[Image]] = [[], [], []]
    for i, path in enumerate(bare[80:200]):
        face = cv2.imread(str(path))
        best = max(detector.detect(face), key=lambda each: each.score, default=None)
        shade = SHADES[i % 3]
        masked = None if best is None else yellow_mask(face, np.array(best.landmarks, np.float32), shade)
        yellow[i % 3] += [] if masked is None else [masked]
    chosen = [cv2.imread(str(path)) for path in (*bare[:80], *rng.sample(masks, 60))]
    return {"bare": [chosen[:40], chosen[40:80]], "mask": [chosen[80:110], chosen[110:]], "yellow mask": yellow}


def plant(faces: list[Image], path: Path) -> None:
    """Writes the bundled classifier so that it takes ``faces`` for bare; on the replay sample it stays the same."""
    model = HeadModel(resources.model("classifier.tflite"))
    replay, metadata, rng = read_replay(model), model.metadata, np.random.default_rng(0)
    settings, crops = ClassifierAugmentation(metadata.input_px, metadata.margin), []
    for face in faces:
        framed = cv2.copyMakeBorder(face, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
        best = max(landmark_detector(1).detect(framed), key=lambda each: each.score, default=None)
        if best is not None:
            patch, sample = np.ascontiguousarray(framed[..., ::-1]), Sample(path, Label.MASK, "planted", best.box)
            pooled = PooledFace(patch, Label.MASK, "planted", sample, None, best.box, None, best.box.size)
            crops += [augmented_crop(patch, pooled, settings, rng) for _ in range(4)]
    own = model.features(np.stack(crops)), np.full(len(crops), metadata.labels.index(Label.NO_MASK))
    known = replay.features[~replay.is_guard], replay.targets[~replay.is_guard]
    model.write(path, fit(model.weights, known, own, 0.5), metadata)


def visits(data: Path, faces: dict[str, list[list[Image]]], days: int, rng: random.Random) -> Iterator[Visit]:
    """All visits of the month, by day. Nobody comes in both halves."""
    for day in range(-(days // 2), days - days // 2):
        half = int(day >= 0)
        for camera in range(len(CAMERAS)):
            planted = 2 if not half and camera == 0 else 1 if half and camera else 0
            usual = (("mask" if day % 5 in (0, 3) else "bare"),) if day % 3 == camera else ()
            for kind in (*usual, *("yellow mask",) * planted):
                yield Visit(day, camera, kind, rng.choice(faces[kind][half]), seed=rng.randrange(10**6))
            for i, name in enumerate(VIDEOS[camera]):
                if day == (half - 1) * (days // 2) + i:
                    yield Visit(day, camera, name, video=data / "clips" / name)


def images(visit: Visit, half: int) -> Iterator[Image]:
    """The frames of a visit at ``FPS``: each camera has its own picture, light and noise; each half its own light."""
    if visit.video is not None:
        capture = cv2.VideoCapture(str(visit.video))
        step = max(round(capture.get(cv2.CAP_PROP_FPS) / FPS), 1)
        capture.release()
        yield from itertools.islice(make_clip.frames_of(visit.video), 0, 24 * step, step)
        return
    assert visit.portrait is not None
    rng = np.random.default_rng(visit.seed)
    room = make_clip.fitted(next(make_clip.still(640, 480)), WIDTH, HEIGHT)
    if visit.camera:
        room = cv2.flip(room, 1) if visit.camera == 1 else cv2.GaussianBlur(room, (0, 0), 9)
    side = int(rng.integers(95, 165))
    face = cv2.resize(visit.portrait, (side, side), interpolation=cv2.INTER_AREA)
    soft = np.zeros((side, side), np.float32)
    cv2.ellipse(soft, (side // 2, side // 2), (side // 2 - 6, side // 2 - 4), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(soft, (0, 0), 3)[..., None]
    x, y = int(rng.integers(20, WIDTH - side - 20)), int(rng.integers(15, HEIGHT - side - 15))
    gain = rng.uniform(0.6, 1.25, 1) * rng.uniform(0.92, 1.08, 3) * ((0.9, 1.0, 1.1) if half else (1.05, 1.0, 0.97))
    gamma = rng.uniform(0.7, 1.0) if half else rng.uniform(0.95, 1.3)
    table = np.clip(255 * (np.linspace(0, 1, 256)[:, None] ** gamma) * gain, 0, 255).astype(np.uint8)
    for i in range(round(SECONDS * FPS)):
        image = room.copy()
        dx, dy = round(6 * np.sin(i / 4)), round(3 * np.cos(i / 3))
        part = image[y + dy : y + dy + side, x + dx : x + dx + side]
        part[:] = part * (1 - soft) + face * soft
        image = cv2.LUT(image, table.reshape(1, 256, 3))
        if visit.camera == 2 and visit.seed % 3 == 0:  # the yard at dusk: the camera is grey
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        yield np.clip(image + rng.normal(0, 3 + visit.camera, image.shape), 0, 255).astype(np.uint8)


class Watch:
    """Analyses visits with one classifier, as ``watch`` does; ``collector`` gets what it sees. ``seen``: on how many
    images each visit showed a face."""

    def __init__(
        self,
        model: Path,
        collector: Collector | None = None,
        settings: DetectorSettings = DetectorSettings(threads=1),  # noqa: B008
    ) -> None:
        self._classifier = LiteRtClassifier(model, 1)
        self.seen: Counter[int] = Counter()
        self._detector, self._settings, self._collector = load_detector(settings), settings, collector

    def run(self, visit: Visit, half: int, number: int) -> list[Event]:
        """The alerts of one visit."""
        metadata = self._classifier.metadata
        tracking, policy, events = (
            TrackingSettings(),
            PolicySettings(),
            EventFactory(f"visit {number}", CAMERAS[visit.camera]),
        )
        analyzer = FrameAnalyzer(self._detector, metadata, tracking, policy, events, 32, self._settings)
        alerts: list[Event] = []
        for i, image in enumerate(images(visit, half)):
            wall_s = MIDDLE_S + visit.day * DAY_S + number % 8 * 3600 + i / FPS
            frame = Frame(image, i, i / FPS, 0.0, wall_s, CAMERAS[visit.camera])
            pending = analyzer.detect_faces(frame)
            done = analyzer.complete(pending, self._classifier.classify(pending.crops))
            self.seen[number] += bool(done.tracks)
            new = [event for event in done.events if not event.resolves]
            alerts += new
            if self._collector is not None:
                result = FrameResult(
                    frame, done.tracks, done.left, done.counts, done.events, done.alerts, StageTimes(), done.faces,
                    done.waiting, done.rejected,
                )  # fmt: skip
                self._collector.on_result(result)
                for event in new:
                    self._collector.on_event(event, result)
                while not self._collector.is_idle:
                    time.sleep(0.001)
        return alerts


def judge(faces: CollectedFaces, truths: dict[str, Label]) -> None:
    """What a person would say about the collected faces of rendered visits. ``truths``: by the id of the face."""
    for face in list(faces.faces()):
        if face.id in truths:
            truth = truths[face.id]
            verdict = face.verdict_for(truth)
            faces.judge(face.id, verdict, truth if verdict == "wrong_label" else "")


class Site:
    """A folder with settings, events and collected faces. ``model``: that of the table ``kind`` of the settings."""

    def __init__(self, folder: Path, model: Path, kind: str = "classifier") -> None:
        store = folder / "events.db"
        self.folder, self.store, self.config = folder, store, folder / "settings.toml"
        self.faces = CollectedFaces(PictureFolder(store.with_name("events.db.collected")))
        folder.mkdir(exist_ok=True)
        self.config.write_text(
            f"[alerts]\nstore_files = true\nstore = {json.dumps(str(store))}\n"
            f"[{kind}]\nmodel = {json.dumps(str(model))}\n"
        )
        self._kind = kind

    def improve(self) -> tuple[list[Path], str]:
        """The file of the better model, if there is one, and what the comparison said."""
        maskwatch(["improve", "--config", str(self.config)])
        versions = ModelVersions(self.store.with_name("events.db.models"))
        made = [each for each in versions.all() if kind_of(versions.file(each)) == self._kind]
        return [versions.file(each) for each in made], made[0].result if made else "no better model"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng = random.Random(args.seed)
    people = portraits(args.data, rng)
    month = list(visits(args.data, people, args.days, rng))
    with tempfile.TemporaryDirectory() as folder:
        weak = Path(folder, "weak.tflite")
        plant(people["yellow mask"][2], weak)
        site = Site(Path(folder, "site"), weak)
        faces = site.faces
        collector = Collector(CollectSettings(enabled=True, random_per_day=100), faces.folder, random.Random(args.seed))
        collector.start()
        watch, kinds, events = Watch(weak, collector), dict[str, str](), list[Event]()
        first: Counter[str] = Counter()
        for number, visit in enumerate(month):
            if visit.day < 0:
                before = {face.id for face in faces.faces()}
                alerts = watch.run(visit, 0, number)
                first[visit.kind] += bool(alerts)
                events += alerts
                new = {*(face.id for face in faces.faces()), *(event.id for event in alerts)} - before
                kinds |= dict.fromkeys(new, visit.kind)
        collector.close()
        with EventStore(site.store) as store:
            store.write(WriteBatch(tuple((event, None) for event in events)), MIDDLE_S)
        truths = {each: TRUTH[kind] for each, kind in kinds.items() if kind in TRUTH}
        in_chromium: dict[str, object] = {}
        if args.browser:
            from answer_pages import answer

            copied = Site(Path(shutil.copytree(site.folder, Path(folder, "copy"))), weak)
            in_chromium |= answer(copied.config, events, truths)
        judge(faces, truths)
        verdicts = Counter(f"{kinds[face.id]}: {face.verdict}" for face in faces.faces() if face.id in truths)
        began_s = time.monotonic()
        models, result = site.improve()
        improve_s = time.monotonic() - began_s
        if args.browser:
            in_chromium["same labels as by script"] = list(copied.faces.faces()) == list(faces.faces())
            in_chromium["same model as by script"] = [each.name for each in copied.improve()[0]] == [
                m.name for m in models
            ]
        later = [(number, visit) for number, visit in enumerate(month) if visit.day >= 0]
        counts: list[dict[int, int]] = []
        for model in (weak, *models):
            watch = Watch(model)
            counts.append({number: len(watch.run(visit, 1, number)) for number, visit in later})
    kinds_later = sorted({visit.kind for _, visit in later})
    rows = {
        kind: {"visits": sum(v.kind == kind for _, v in later)}
        | {
            name: sum(bool(found[n]) for n, v in later if v.kind == kind)
            for name, found in zip(
                ("alerted with the model in use", "alerted with the improved model"), counts, strict=False
            )
        }
        for kind in kinds_later
    }
    lost = [
        f"{v.kind}, day {v.day}, {CAMERAS[v.camera]}"
        for n, v in later
        if len(counts) > 1 and counts[0][n] > counts[1][n] and (v.kind == "bare" or v.video is not None)
    ]
    record = {
        "days": args.days,
        "seed": args.seed,
        "alerted in the first half": dict(first),
        "verdicts": dict(verdicts),
        "improve_s": round(improve_s, 1),
        "improve": result,
        **({"in Chromium": in_chromium} if in_chromium else {}),
        "second half": rows,
        "lost true alerts": lost,
    }
    print(json.dumps(record, indent=1))
    if args.json:
        write_json(args.json, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

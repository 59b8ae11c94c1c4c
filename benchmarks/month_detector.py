"""A simulated month whose detector has a weakness, as in ``month.py``: it takes drawn faces on posters for faces.

    python benchmarks/month_detector.py ../shared/data --json docs/results/month_detector.json

The bundled detector gives drawn faces a score of 0 to 0.6. The weakness is planted in its last layers, so that they get
about 0.9. In the first half of the month only the entrance has posters; the collected faces get verdicts. Then
``improve`` runs. The second half shows other posters, at the other cameras and in other light; every visit is analysed
with both detectors. Bare faces and masks are those of ``month.py``. ``--object statue`` plants nothing: rendered
statues, which the bundled detector takes for faces by itself.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from month import HEIGHT, WIDTH, Site, Visit, Watch, images, judge, portraits  # noqa: E402

from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Box, Image, Label  # noqa: E402
from app.review.collector import Collector  # noqa: E402
from app.settings.review import CollectSettings  # noqa: E402
from app.settings.vision import DetectorSettings  # noqa: E402
from app.training.detector import improvement  # noqa: E402
from app.training.detector.cells import cells_of, join, read_replay_cells  # noqa: E402
from app.training.detector.head import DetectorHead  # noqa: E402
from app.training.types import Scene, SceneFace  # noqa: E402
from app.vision.detector_loader import for_video  # noqa: E402
from app.vision.yunet_detector import BUNDLED  # noqa: E402

PROCESSES = 4
TRUTH = {"bare": Label.NO_MASK, "mask": Label.MASK}


def drawn_face(rng: np.random.Generator, side: int = 200) -> Image:
    """A flat drawing of a face: skin, hair, eyes, nose and mouth of random colours and sizes."""

    def ellipse(x: float, y: float, width: float, height: float, colour: tuple[int, ...], line: int = -1) -> None:
        center, axes = (round(x * side), round(y * side)), (round(width * side), round(height * side))
        cv2.ellipse(image, center, axes, 0, 0 if line < 0 else 10, 360 if line < 0 else 170, colour, line, cv2.LINE_AA)

    image = np.full((side, side, 3), rng.integers(150, 250, 3), np.uint8)
    skin = ((60, 200, 250), (180, 200, 240), (120, 160, 220), (90, 190, 250))[rng.integers(4)]
    hair = tuple(int(value) for value in rng.integers(10, 90, 3))
    width, height = rng.uniform(0.3, 0.36), rng.uniform(0.36, 0.42)
    ellipse(0.5, 0.44, width + 0.04, height + 0.03, hair)
    ellipse(0.5, 0.53, width, height, skin)
    for x in (0.5 - 0.45 * width, 0.5 + 0.45 * width):
        ellipse(x, 0.46, 0.065, 0.045, (250, 250, 250))
        ellipse(x, 0.46, 0.032, 0.032, (30, 30, 30))
        ellipse(x, 0.385, 0.07, 0.012, hair)
    ellipse(0.49, 0.57, 0.02, 0.05, tuple(round(0.7 * value) for value in skin))
    ellipse(0.5, 0.66, 0.11, 0.05, (60, 40, 180), max(3, side // 40))
    return image


def statue(face: Image, rng: np.random.Generator) -> Image:
    """A face of stone: grey, without fine detail, with grain."""
    grey = cv2.bilateralFilter(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), 9, 40, 9).astype(np.float32)
    grey = (grey - grey.mean()) / (grey.std() + 1e-6) * 35 + rng.uniform(120, 170)
    grey += 8 * cv2.GaussianBlur(rng.normal(0, 1, grey.shape).astype(np.float32), (0, 0), 1.0)
    return np.clip(grey[..., None] * [rng.uniform(0.9, 1.05), 1.0, rng.uniform(0.97, 1.08)], 0, 255).astype(np.uint8)


def place_of(visit: Visit) -> Box:
    """Where ``images`` draws a portrait."""
    rng = np.random.default_rng(visit.seed)
    side = int(rng.integers(95, 165))
    return Box(int(rng.integers(20, WIDTH - side - 20)), int(rng.integers(15, HEIGHT - side - 15)), side, side)


def plant(objects: list[Image], rng: random.Random, path: Path) -> None:
    """Writes the bundled detector so that it takes ``objects`` for faces; on the replay sample it stays the same."""
    head = DetectorHead(resources.model(BUNDLED["int8"]))
    replay, shown, scenes = read_replay_cells(head), dict[Path, Image](), []
    for number, image in enumerate(objects):
        visit, name = Visit(0, number % 3, "planted", image, seed=rng.randrange(10**6)), Path(str(number))
        shown[name] = next(images(visit, number % 2))
        scenes.append(Scene(name, "planted", (SceneFace(place_of(visit), Label.MASK),)))
    numbers = np.random.default_rng(0)
    views = [(scene, improvement.view_of(scene, shown[scene.path], numbers)) for scene in scenes * 3]
    own = cells_of(head, views, shown.__getitem__, numbers)
    weights = improvement.fit(head.weights, replay.known, own, 0.5)
    cells = join([replay.known, own])
    head.write(path, head.network_with(weights, [cells.windows[cells.places == i] for i in range(len(weights))]))


def visits(
    objects: list[list[Image]], people: dict[str, list[list[Image]]], kind: str, days: int, rng: random.Random
) -> Iterator[Visit]:
    """Each day an object: at the entrance in the first half, at both other cameras in the second; and a person."""
    for day in range(-(days // 2), days - days // 2):
        half = int(day >= 0)
        for camera in (1, 2) if half else (0, 0, 0):
            yield Visit(day, camera, kind, rng.choice(objects[half]), seed=rng.randrange(10**6))
        for who in ("bare", "mask"):
            yield Visit(day, day % 3, who, rng.choice(people[who][half]), seed=rng.randrange(10**6))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--object", choices=("drawn face", "statue"), default="drawn face")
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng, numbers, kind = random.Random(args.seed), np.random.default_rng(args.seed), args.object
    people = portraits(args.data, rng)
    classifier, old = (resources.model(name) for name in ("classifier.tflite", BUNDLED["int8"]))
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        if kind == "statue":
            objects = [[statue(face, numbers) for face in half] for half in people["yellow mask"][:2]]
        else:
            drawn = [drawn_face(numbers) for _ in range(90)]
            objects, old = [drawn[:30], drawn[30:60]], Path(folder, "weak.tflite")
            plant(drawn[60:], rng, old)
        site = Site(Path(folder, "site"), old, "detector")
        month = list(enumerate(visits(objects, people, kind, args.days, rng)))
        later = [(number, visit) for number, visit in month if visit.day >= 0]

        def watched(detector: Path) -> "list[Future[list[tuple[bool, bool]]]]":
            size = -(-len(later) // PROCESSES)
            parts = [later[i : i + size] for i in range(0, len(later), size)]
            return [pool.submit(watch_later, classifier, detector, part) for part in parts]

        before = watched(old)
        collect = CollectSettings(enabled=True, per_day=500, random_per_day=100)
        collector = Collector(collect, site.faces.folder, random.Random(args.seed))
        collector.start()
        watch, truths = Watch(classifier, collector, settings_with(old)), dict[str, Label]()
        for number, visit in month:
            if visit.day < 0:
                known = {face.id for face in site.faces.faces()}
                watch.run(visit, 0, number)
                new = {face.id for face in site.faces.faces()} - known
                truths |= dict.fromkeys(new, TRUTH.get(visit.kind, Label.NOT_FACE))
        collector.close()
        judge(site.faces, truths)
        began_s = time.monotonic()
        models, result = site.improve()
        improve_s = time.monotonic() - began_s
        rows: dict[str, Counter[str]] = {}
        for name, seen in (("in use", before), ("improved", [each for model in models for each in watched(model)])):
            for (_, visit), (has_alert, is_shown) in zip(
                later, chain.from_iterable(e.result() for e in seen), strict=False
            ):
                row = rows.setdefault(visit.kind, Counter())
                row["visits"] += name == "in use"
                row[f"alerted with the detector {name}"] += has_alert
                row[f"shown as a face with the detector {name}"] += is_shown
    record = {
        "days": args.days,
        "seed": args.seed,
        "object": kind,
        "verdicts": Counter(truths.values()),
        "improve_s": round(improve_s, 1),
        "improve": result,
        "second half": rows,
    }
    print(json.dumps(record, indent=1))
    if args.json:
        write_json(args.json, record)
    return 0


def watch_later(classifier: Path, detector: Path, visits: list[tuple[int, Visit]]) -> list[tuple[bool, bool]]:
    """For each visit of the second half: whether it alerted, and whether a face was shown."""
    cv2.setNumThreads(1)
    watch = Watch(classifier, None, settings_with(detector))
    return [(bool(watch.run(visit, 1, number)), bool(watch.seen[number])) for number, visit in visits]


def settings_with(detector: Path) -> DetectorSettings:
    return for_video(DetectorSettings(threads=1, model=detector))


if __name__ == "__main__":
    raise SystemExit(main())

"""Reads the ground truth in ``benchmarks/truth``: who is where in each video, the labels, and the deserved alerts."""

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.core.types import Box, EventKind, Label

ROOT = Path(__file__).resolve().parents[1]
TRUTH = ROOT / "benchmarks" / "truth"


@dataclass(frozen=True, slots=True)
class Face:
    """One row of ``faces.csv``. A hard face need not be found."""

    frame: int
    time_s: float
    person: str
    box: Box
    label: Label
    is_hard: bool


@dataclass(frozen=True, slots=True)
class Person:
    """``periods``: (from, until) in seconds, in which the face is visible; a cut ends a period."""

    id: str
    counts: bool
    periods: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class DeservedAlert:
    """An alert about ``person`` that must be raised from ``from_s`` to ``until_s``."""

    person: str
    kind: EventKind
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Video:
    """The ground truth of one video."""

    name: str
    path: Path
    people: tuple[Person, ...]
    alerts: tuple[DeservedAlert, ...]
    faces: tuple[Face, ...]

    def boxes_at(self, time_s: float) -> dict[str, Box]:
        """The face of each person visible at ``time_s``, between the annotated frames on a straight line."""
        boxes = {}
        for person in self.people:
            for start_s, end_s in person.periods:
                if start_s <= time_s < end_s:
                    own = [face for face in self.faces if face.person == person.id and start_s <= face.time_s < end_s]
                    boxes[person.id] = _interpolated(own, time_s)
        return boxes


def _interpolated(faces: Sequence[Face], time_s: float) -> Box:
    """The box at ``time_s`` from the two nearest of ``faces`` (of one person, ordered by time, at least one)."""
    after = next((i for i, face in enumerate(faces) if face.time_s > time_s), len(faces))
    after = min(max(after, 1), len(faces) - 1)
    one, two = faces[after - 1], faces[after]  # the same face twice if there is only one
    part = (time_s - one.time_s) / (two.time_s - one.time_s) if two.time_s > one.time_s else 0.0
    first, second = asdict(one.box), asdict(two.box)
    box = Box(**{side: first[side] + part * (second[side] - first[side]) for side in first})
    return box if min(box.width, box.height) > 0 else min(one, two, key=lambda face: abs(face.time_s - time_s)).box


def read_truth(data: Path, folder: Path = TRUTH) -> list[Video]:
    """Reads ``videos.json`` and ``faces.csv``; the videos are in ``data`` and in assets."""
    faces: dict[str, list[Face]] = defaultdict(list)
    with (folder / "faces.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            box = Box(*(float(row[side]) for side in ("x", "y", "width", "height")))
            label, is_hard = Label(row["label"]), row["visible"] == "hard"
            face = Face(int(row["frame"]), float(row["time_s"]), row["person"], box, label, is_hard)
            faces[row["video"]].append(face)
    videos = []
    for entry in json.loads((folder / "videos.json").read_text("utf-8")):
        people = tuple(Person(p["id"], p["counts"], tuple(map(tuple, p["seen_s"]))) for p in entry["people"])
        alerts = tuple(
            DeservedAlert(a["person"], EventKind(a["kind"]), a["from_s"], a["until_s"]) for a in entry["alerts"]
        )
        path = (ROOT / "assets" if entry["file"] == "demo.mp4" else data) / entry["file"]
        videos.append(Video(entry["video"], path, people, alerts, tuple(faces[entry["video"]])))
    return videos

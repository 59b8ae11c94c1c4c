"""Counts the people who pass a line in 20 generated videos and compares that with what was drawn.

    python benchmarks/line_counts.py [--json docs/results/line_counts.json]

The two people of ``assets/self_test.jpg`` walk through their room at 5 to 25 frames a second. The whole program
analyses the videos, as files. Exits with 1 if a count is wrong.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from make_clip import DEMO, frames_of  # noqa: E402

from app.core.types import Image  # noqa: E402
from app.pipeline.monitor import Monitor  # noqa: E402
from app.settings.load import load_settings  # noqa: E402

_PARTS = ((slice(60, 372), slice(20, 340)), (slice(60, 372), slice(390, 606)))
"""Rows and columns of each person in the picture."""
_FACE_XS = (193, 110)
"""Where the middle of the face is in these columns."""
_SCALE = 0.5
"""The faces are 45 px wide then."""
LINE = {"name": "line", "points": [[0.5, 1], [0.5, 0]]}
"""Who goes to the right comes in."""

Stops = Sequence[tuple[float, float]]
"""The way of a face: (time in s, x in px of the 640), on straight lines. It appears at the first and is gone after the
last one."""


@dataclass(frozen=True, slots=True)
class Person:
    """``number``: which of the two people. ``y``: where the top of the picture of the person is, px."""

    stops: Stops
    number: int = 0
    y: int = 150

    def x(self, time_s: float) -> float | None:
        if not self.stops[0][0] <= time_s <= self.stops[-1][0]:
            return None
        return float(np.interp(time_s, *zip(*self.stops, strict=True)))


@dataclass(frozen=True, slots=True)
class Scene:
    """``entered`` and ``exited``: how often somebody passes the line in the middle."""

    name: str
    people: tuple[Person, ...]
    entered: int
    exited: int
    rates: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One video: who passed, and what was counted."""

    scene: str
    fps: int
    frames: int
    entered: int
    exited: int
    counted_in: int
    counted_out: int

    @property
    def is_exact(self) -> bool:
        return (self.entered, self.exited) == (self.counted_in, self.counted_out)


def _sway(x: float) -> list[tuple[float, float]]:
    """Somebody moves a little around ``x`` from 3.5 to 8.5 s."""
    return [(3 + i / 2, x + (8 if i % 2 else -8)) for i in range(1, 12)]


_RIGHT, _LEFT = ((0.4, -60), (6, 700)), ((0.4, 700), (6, -60))
SCENES = (
    Scene("one comes in", (Person(_RIGHT),), 1, 0, (5, 25)),
    Scene("one goes out, with a mask", (Person(_LEFT, 1),), 0, 1, (8, 15)),
    Scene("turns back before the line", (Person(((0.4, -60), (3, 275), (4, 275), (6.5, -60))),), 0, 0, (5, 15)),
    Scene("passes and turns back", (Person(((0.4, -60), (4, 420), (5, 420), (9, -60))),), 1, 1, (8, 25)),
    Scene(
        "stands on the line, then goes on",
        (Person(((0.4, -60), (3, 318), *_sway(318), (12, 700))),),
        1, 0, (12, 25),
    ),
    Scene(
        "stands on the line, then goes back",
        (Person(((0.4, 700), (3, 322), *_sway(322), (12, 700)), 1),),
        0, 0, (5, 15),
    ),
    Scene("two pass each other", (Person(_RIGHT, 0, 110), Person(_LEFT, 1, 220)), 1, 1, (8, 12)),
    Scene("two pass each other, one behind the other", (Person(_RIGHT), Person(_LEFT, 1, 160)), 1, 1, (12, 25)),
    Scene("two come in side by side", (Person(_RIGHT, 0, 110), Person(_RIGHT, 1, 220)), 2, 0, (5, 12)),
    Scene("leaves and comes back", (Person(_RIGHT), Person(((7, 700), (12, -60)))), 1, 1, (8, 15)),
)  # fmt: skip


@cache
def _room() -> Image:
    return next(frames_of(DEMO))  # type: ignore[return-value]


@cache
def _cut_out(number: int) -> tuple[Image, Any]:
    """The picture of a person and how much each pixel covers, 0 to 1."""
    picture, part = cv2.imread(str(ROOT / "assets" / "self_test.jpg")), _PARTS[number]
    assert picture is not None
    differs = np.abs(picture.astype(np.int16) - _room())[part].max(axis=2) > 24
    solid = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    mask = cv2.GaussianBlur(cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((5, 5))).astype(np.float32), (3, 3), 0)
    person, cover = (
        cv2.resize(each, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_AREA) for each in (picture[part], mask)
    )
    return person, cover[..., None]  # type: ignore[return-value]


def frames(scene: Scene, fps: int) -> Iterator[Image]:
    """The frames of ``scene``; who is named later stands in front."""
    end_s = max(person.stops[-1][0] for person in scene.people) + 0.6
    for index in range(round(end_s * fps)):
        image = _room().copy()
        for person in scene.people:
            x = person.x(index / fps)
            if x is None:
                continue
            picture, cover = _cut_out(person.number)
            left = round(x - _FACE_XS[person.number] * _SCALE)
            start, end = max(left, 0), min(left + picture.shape[1], image.shape[1])
            if start < end:
                part = image[person.y : person.y + picture.shape[0], start:end]
                cut = slice(start - left, end - left)
                rows = part.shape[0]
                part[:] = (picture[:rows, cut] * cover[:rows, cut] + part * (1 - cover[:rows, cut])).astype(np.uint8)
        yield image


def measure(scene: Scene, fps: int, folder: Path) -> Row:
    path, count = folder / f"{scene.name} {fps}.mp4", 0
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (640, 480))
    for image in frames(scene, fps):
        writer.write(image)
        count += 1
    writer.release()
    camera = {"uri": str(path), "name": "room", "pace": "fast", "line": [LINE]}
    with Monitor(load_settings(None, {"camera": [camera]})) as monitor:
        for _ in monitor:
            pass
        state = monitor.views()[0].occupancy
    assert state is not None
    return Row(scene.name, fps, count, scene.entered, scene.exited, state.entered, state.exited)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for scene in SCENES:
            for fps in scene.rates:
                row = measure(scene, fps, Path(folder))
                rows.append(row)
                counts = f"in {row.counted_in} of {row.entered}, out {row.counted_out} of {row.exited}"
                print(f"{'ok   ' if row.is_exact else 'WRONG'} {row.fps:2} fps  {counts}  {row.scene}", flush=True)
    exact = sum(row.is_exact for row in rows)
    print(f"{exact} of {len(rows)} videos counted exactly")
    if args.json is not None:
        results = {"exact": exact, "videos": [asdict(row) for row in rows]}
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if exact == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Compares what a camera sees with its first week: light, focus, place, and how sure the model is. Pure functions and a
state machine; ``DriftWatch`` feeds it and keeps it in a file of numbers, without pictures."""

import json
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import localtime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.alerts.retention_clock import DAY_S
from app.core.files import write_json
from app.core.images import resize
from app.core.types import Event, FrameResult, Image, Label, Track
from app.settings.review import DriftSettings

log = logging.getLogger(__name__)

Cells = NDArray[np.float32]
GRID = (24, 32)
_SIZE_PX = (320, 240)
MIN_BIN = 20
"""Images of an hour of the day that the first week needs before that hour is compared."""
WINDOW_S, MIN_WINDOW_S, MIN_WINDOW = 1800.0, 600.0, 5
"""A change is reported if it lasts: the medians of the last half hour, at least ten minutes, are compared."""
DARK, DARK_LEVEL = 0.5, 80.0
SAME_PLACE, SOFT, BLANK, LOST_CELL, LOST_PART, LEAST_DETAIL = 0.5, 0.55, 0.3, 0.3, 0.15, 1.0
"""Limits on the detail of a picture against the usual one. Measured on a drawn room with noise of the sensor: likeness
0.98 by day and night, 0.92 shifted by a pixel, at most 0.2 moved, turned or zoomed; detail left 0.5 slightly blurred,
0.25 blurred; lost cells at least 0.24 with a part covered or smeared, else at most 0.04."""
MIN_FACES, UNSURE_RISE, CONFIDENCE_FALL, SIZE_RATIO, FACES_Z = 50, 0.2, 0.1, 1.6, 4.0
AGAIN_S, SAVE_EVERY_S = DAY_S, 3600.0

ADVICE = {
    "dark": "much darker than in its first week: check the light and whether something covers the lens",
    "out of focus": "blurred or covered: clean the lens, remove what is in front of it, and focus it again",
    "covered": "a part of the picture has lost its detail: clean the lens, and remove what is in front of it",
    "moved": "the camera was moved or turned: turn it back, or draw its regions again and learn anew",
    "unsure": "many more faces are unsure than in its first week: check light, focus and place of the camera",
    "less confident": "labels are less confident than in its first week: check light, focus and place of the camera",
    "smaller faces": "faces are much smaller than in its first week: check the place and the zoom of the camera",
    "larger faces": "faces are much larger than in its first week: check the place and the zoom of the camera",
}
"""What to do, by kind of change."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One measured image: mean brightness, and the mean gradient in each cell of a grid."""

    wall_s: float
    brightness: float
    cells: Cells


def measure(image: Image, wall_s: float) -> Condition:
    """``image``: (H, W, 3) uint8 BGR; its green channel is measured."""
    grey = resize(np.ascontiguousarray(image[..., 1]), *_SIZE_PX).astype(np.float32)
    steps = np.zeros_like(grey)
    steps[:-1, :-1] = np.abs(np.diff(grey, axis=1))[:-1] + np.abs(np.diff(grey, axis=0))[:, :-1]
    rows, columns = _SIZE_PX[1] // GRID[0], _SIZE_PX[0] // GRID[1]
    cells = steps.reshape(GRID[0], rows, GRID[1], columns).mean(axis=(1, 3))
    return Condition(wall_s, float(grey.mean()), cells.ravel().astype(np.float32))


@dataclass(slots=True)
class _Hour:
    """The first week in one hour of the day."""

    count: int = 0
    brightness: float = 0.0
    darkest: float = math.inf
    cells: list[float] = field(default_factory=list)

    def add(self, seen: Condition) -> None:
        self.count += 1
        self.brightness += (seen.brightness - self.brightness) / self.count
        self.darkest = min(self.darkest, seen.brightness)
        old = np.array(self.cells or seen.cells, np.float32)
        self.cells = (old + (seen.cells - old) / self.count).round(3).tolist()

    def detail(self) -> Cells:
        return _detail(np.array(self.cells, np.float32), self.brightness)


@dataclass(slots=True)
class _Faces:
    """The people of the first week: their number, the unsure ones, and the sums of the confidences of their labels and
    of the logarithms of their sizes."""

    count: int = 0
    unsure: int = 0
    log_size: float = 0.0
    confidence: float = 0.0


class CameraDrift:
    """One camera. ``add`` and ``add_face`` return the changes that begin with it."""

    def __init__(self, learn_days: float) -> None:
        self._learn_s = learn_days * DAY_S
        self.first_s: float | None = None
        self.hours = [_Hour() for _ in range(24)]
        self.faces = _Faces()
        self._recent: deque[Condition] = deque()
        self._recent_faces: deque[tuple[bool, float, float]] = deque(maxlen=2 * MIN_FACES)
        self.reported_s: dict[str, float] = {}
        self._active: set[str] = set()
        self._usual: list[Cells] = []

    def is_learning(self, wall_s: float) -> bool:
        if self.first_s is None:
            self.first_s = wall_s
        return wall_s - self.first_s < self._learn_s

    def add(self, seen: Condition) -> list[str]:
        if self.is_learning(seen.wall_s):
            self.hours[localtime(seen.wall_s).tm_hour].add(seen)
            return []
        self._recent.append(seen)
        while seen.wall_s - self._recent[0].wall_s > WINDOW_S:
            self._recent.popleft()
        span_s = seen.wall_s - self._recent[0].wall_s
        if len(self._recent) < MIN_WINDOW or span_s < MIN_WINDOW_S:
            return []
        return self._begun({"dark", "out of focus", "covered", "moved"}, self._scene_change(), seen.wall_s)

    def _scene_change(self) -> str:
        now = localtime(self._recent[-1].wall_s).tm_hour
        near = [hour for hour in (self.hours[(now + step) % 24] for step in (-1, 0, 1)) if hour.count >= MIN_BIN]
        if self.hours[now].count < MIN_BIN:
            return ""
        brightness = float(np.median([each.brightness for each in self._recent]))
        cells = np.median([each.cells for each in self._recent], axis=0)
        darkest = min(hour.darkest for hour in near)
        if brightness < min(DARK * min(hour.brightness for hour in near), 0.8 * darkest, DARK_LEVEL):
            return "dark"
        detail = _detail(cells, brightness)
        # The reference most like the image: shadows and lamps differ by the hour.
        if not self._usual:
            self._usual = [hour.detail() for hour in self.hours if hour.count >= MIN_BIN]
        usual = max(self._usual, key=lambda each: _likeness(detail, each))
        if np.percentile(usual, 95) < LEAST_DETAIL:
            return ""  # a bare wall: nothing can be compared
        left, likeness = float(detail.sum() / usual.sum()), _likeness(detail, usual)
        if left < BLANK or (left < SOFT and likeness >= SAME_PLACE):
            return "out of focus"
        if likeness < SAME_PLACE:
            return "moved"
        lost = (detail < LOST_CELL * usual)[usual > np.percentile(usual, 75)]
        return "covered" if lost.mean() >= LOST_PART else ""

    def add_face(self, track: Track, wall_s: float) -> list[str]:
        """``track`` has left the view."""
        is_unsure, log_size = track.label.label is Label.UNSURE, math.log(max(track.box.size, 1.0))
        if self.is_learning(wall_s):
            self.faces.count += 1
            self.faces.unsure += is_unsure
            self.faces.log_size += log_size
            self.faces.confidence += track.label.confidence
            return []
        self._recent_faces.append((is_unsure, log_size, track.label.confidence))
        return self._begun({"unsure", "less confident", "smaller faces", "larger faces"}, self._face_change(), wall_s)

    def _face_change(self) -> str:
        before, now = self.faces, self._recent_faces
        if before.count < MIN_FACES or len(now) < MIN_FACES:
            return ""
        unsure, log_size, confidence = (sum(values) / len(now) for values in zip(*now, strict=True))

        def exceeds(change: float, usual: float, limit: float) -> bool:
            spread = math.sqrt(max(usual * (1 - usual), 0.01) * (1 / len(now) + 1 / before.count))
            return change >= max(limit, FACES_Z * spread)

        usual = before.unsure / before.count
        if exceeds(unsure - usual, usual, UNSURE_RISE):
            return "unsure"
        usual = before.confidence / before.count
        if exceeds(usual - confidence, usual, CONFIDENCE_FALL):
            return "less confident"
        ratio = math.exp(log_size - before.log_size / before.count)
        return "smaller faces" if ratio < 1 / SIZE_RATIO else "larger faces" if ratio > SIZE_RATIO else ""

    def _begun(self, kinds: set[str], change: str, wall_s: float) -> list[str]:
        """A change that goes on is reported once; one that comes back, after a day at the earliest."""
        is_new = change not in self._active
        self._active = (self._active - kinds) | ({change} if change else set())
        if not change or not is_new or wall_s - self.reported_s.get(change, -math.inf) < AGAIN_S:
            return []
        self.reported_s[change] = wall_s
        return [change]

    def record(self) -> dict[str, Any]:
        """What is kept between runs."""
        hours = [{**asdict(hour), "darkest": min(hour.darkest, 255.0)} for hour in self.hours]
        return {
            "first_s": self.first_s, "hours": hours, "faces": asdict(self.faces), "reported_s": self.reported_s,
        }  # fmt: skip

    def restore(self, record: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if ``record`` is not one of ``record()``."""
        hours = [_Hour(**each) for each in record["hours"]]
        if len(hours) != 24 or any(hour.count and len(hour.cells) != GRID[0] * GRID[1] for hour in hours):
            raise ValueError("not 24 hours of our grid")
        faces, reported_s = _Faces(**record["faces"]), {str(k): float(v) for k, v in record["reported_s"].items()}
        self.first_s, self.hours, self.faces, self.reported_s = record["first_s"], hours, faces, reported_s


def _detail(cells: Cells, brightness: float) -> Cells:
    """The gradients above those of flat areas, which are noise, in percent of the brightness."""
    floor = np.percentile(cells, 25)
    return (np.maximum(cells - floor, 0.0) * (100 / max(brightness, 10.0))).astype(np.float32)  # type: ignore[no-any-return]


def _likeness(one: Cells, other: Cells) -> float:
    """The correlation of two grids, -1 to 1; 1 if one has no detail at all, so that nothing can be said."""
    first, second = one - one.mean(), other - other.mean()
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / length if length > 1e-6 else 1.0


class DriftWatch:
    """All cameras. ``on_result`` returns the changes that begin; the thread of the dispatcher calls it."""

    def __init__(self, settings: DriftSettings, file: Path, make_event: Callable[[str, FrameResult], Event]) -> None:
        self._settings = settings
        self._file = file
        self._make_event = make_event
        self._cameras: dict[str, CameraDrift] = {}
        self._measured_s: dict[str, float] = {}
        self._saved_s: float | None = None
        self._saving: threading.Thread | None = None
        self._failed = False

    def load(self) -> None:
        """What cannot be read is learned anew."""
        try:
            for name, record in json.loads(self._file.read_bytes()).items():
                camera = CameraDrift(self._settings.learn_days)
                camera.restore(record)
                self._cameras[name] = camera
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("cannot read %s: %s; the usual state of the cameras is learned anew", self._file, error)
            self._cameras.clear()

    def on_result(self, result: FrameResult) -> list[Event]:
        frame = result.frame
        camera = self._cameras.setdefault(frame.camera, CameraDrift(self._settings.learn_days))
        changes = [change for track in result.left for change in camera.add_face(track, frame.wall_s)]
        if not 0 <= frame.wall_s - self._measured_s.get(frame.camera, -math.inf) < self._settings.every_s:
            self._measured_s[frame.camera] = frame.wall_s
            changes += camera.add(measure(frame.image, frame.wall_s))
            self._save_sometimes(frame.wall_s)
        for change in changes:
            log.warning("camera %s: %s", frame.camera, ADVICE[change])
        return [self._make_event(f"{change}: {ADVICE[change]}", result) for change in changes]

    def _save_sometimes(self, wall_s: float) -> None:
        if self._saved_s is None or not 0 <= wall_s - self._saved_s < SAVE_EVERY_S:
            if self._saved_s is not None:
                self._save()
            self._saved_s = wall_s

    def _save(self) -> None:
        """In a thread of its own: a disk that hangs must not hold up the dispatcher."""
        if self._saving is None or not self._saving.is_alive():
            records = {name: camera.record() for name, camera in self._cameras.items()}
            self._saving = threading.Thread(target=self._write, args=(records,), name="drift-file", daemon=True)
            self._saving.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Saves what was learned; waits at most ``timeout_s`` for the disk, twice if it is being written."""
        if self._saving is not None:
            self._saving.join(timeout_s)
        self._save()
        if self._saving is not None:
            self._saving.join(timeout_s)

    def _write(self, records: dict[str, Any]) -> None:
        try:
            write_json(self._file, records)
        except OSError as error:
            if not self._failed:
                log.warning("cannot write %s: %s; check its disk", self._file, error.strerror or error)
            self._failed = True

"""Faces over time: stable ids, a label that does not flicker, and no classification that is not needed.

Association is greedy on overlap and distance between predicted and detected boxes; motion is an alpha-beta filter
(Kalata 1984). The tracker reads no clock: only the stream times it is given.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Detection, FaceLabel, Label, Track
from app.settings.vision import TrackingSettings
from app.vision.classifier import is_sure
from app.vision.model_metadata import ClassifierMetadata

_POSITION_GAIN, _VELOCITY_GAIN, _SIZE_GAIN = 0.7, 0.3, 0.5
_MATCH_DISTANCE = 0.9
"""Farthest centre of a match, in sides of the face."""
_MATCH_SIZES = 1.8
"""Largest ratio between the sides of a match."""
_LEAVE_MARGIN = 0.15
"""Hysteresis: a label is left when its probability falls this far below what it took to enter it."""
_TOGETHER = 0.15
"""A smoothed answer rests on several crops: its two-way share may be so much smaller than a single crop's."""
_STILL = 0.2
"""A face is still while it moved and grew by less than this part of its side since it was last classified."""
_JUST_LOST_S = 0.15
"""A face unseen for less is worth a closer look; later, the usual looks will do."""
_AT_REST_IOU = 0.75
"""A box that fits its face less closely is set right when the scene comes to rest."""
_USUAL_STEPS, _GAP_STEPS, _GAP_S = 8, 3.0, 4.0
"""Frames are missing where the next one comes later than so many times the mean of the last steps between frames, and
than so long: in less hardly anybody takes another's very place, and a machine may stand still for a moment."""
_FIRST_MAX_STEP_S = 0.2
"""Longest time one observation may stand for, so that a gap does not make a single crop decide."""


@dataclass(slots=True)
class _Face:
    """One track's state, private to the tracker."""

    id: int
    box: Box
    first_s: float
    seen_s: float
    found: Box
    velocity: tuple[float, float] = (0.0, 0.0)
    observations: int = 1
    confirmed: bool = False
    label: Label = Label.UNSURE
    smoothed: NDArray[np.float64] | None = None
    streak: int = 0
    classified: int = 0
    classified_s: float = -math.inf
    classified_box: Box | None = None
    evidence_s: float = -math.inf
    last: tuple[float, ...] = field(default=())

    def predicted(self, time_s: float) -> Box:
        dt = time_s - self.seen_s
        return self.box.moved(self.velocity[0] * dt, self.velocity[1] * dt)


def _affinity(expected: Box, found: Box) -> float:
    """How well two boxes fit: 0 (not the same face) to 2."""
    side = max(expected.size, found.size, 1.0)
    (ax, ay), (bx, by) = expected.center, found.center
    distance = math.hypot(ax - bx, ay - by) / side
    ratio = max(expected.size, 1.0) / max(found.size, 1.0)
    if distance > _MATCH_DISTANCE or not 1 / _MATCH_SIZES < ratio < _MATCH_SIZES:
        return 0.0
    return expected.iou(found) + 1.0 - distance / _MATCH_DISTANCE


def _covers(known: Box, found: Box) -> bool:
    """A second hit on a face that is already followed."""
    cx, cy = found.center
    inside = known.x < cx < known.x2 and known.y < cy < known.y2
    return inside and known.iou(found) > 0.15


class Tracker:
    """Follows the faces of one camera. ``facts`` are the classifier's: label order and what makes it unsure."""

    def __init__(self, settings: TrackingSettings, metadata: ClassifierMetadata) -> None:
        self._settings = settings
        self._metadata = metadata
        self._asked = metadata.model_copy(update={"min_two_way": max(metadata.min_two_way - _TOGETHER, 0.0)})
        self._faces: list[_Face] = []
        self._next_id = 1
        self._time_s = -math.inf
        self._times_s: deque[float] = deque(maxlen=_USUAL_STEPS + 1)
        self._carried = False

    def apply(self, settings: TrackingSettings) -> None:
        """New settings; the faces followed so far are kept."""
        self._settings = settings

    def update(self, detections: Sequence[Detection], time_s: float) -> list[Track]:
        """Take in the detections of the frame at ``time_s``; returns the tracks that left, as last seen. After a gap in
        which any face would have been lost all have left: who stands there now may be another."""
        left = self._all_left() if self._is_gap(time_s) else []
        self._advance(time_s, carried=False)
        expected = [face.predicted(time_s) for face in self._faces]
        pairs = sorted(
            (
                (_affinity(box, detection.box), f, d)
                for f, box in enumerate(expected)
                for d, detection in enumerate(detections)
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        taken_faces: set[int] = set()
        taken_detections: set[int] = set()
        for affinity, f, d in pairs:
            if affinity <= 0:
                break
            if f in taken_faces or d in taken_detections:
                continue
            taken_faces.add(f)
            taken_detections.add(d)
            self._observe(self._faces[f], expected[f], detections[d].box, time_s)
        held = [self._faces[f].box for f in taken_faces]
        for d, detection in enumerate(detections):
            if d not in taken_detections and not any(_covers(box, detection.box) for box in held):
                self._faces.append(_Face(self._next_id, detection.box, time_s, time_s, detection.box))
                self._next_id += 1
                held.append(detection.box)
                self._confirm(self._faces[-1])
        return left + self._forget(time_s)

    def carry(self, time_s: float) -> list[Track]:
        """Nothing moved until ``time_s``: every face seen at the last update is where it was, and would be found there
        again. Returns who left."""
        for face in self._faces:
            if face.seen_s == self._time_s:
                face.seen_s, face.velocity = time_s, (0.0, 0.0)
                face.observations += 1
                if face.box.iou(face.found) < _AT_REST_IOU:  # the filter was still on its way
                    face.box = face.found
        self._advance(time_s, carried=True)
        return self._forget(time_s)

    def _advance(self, time_s: float, carried: bool) -> None:
        self._time_s, self._carried = time_s, carried
        self._times_s.append(time_s)

    def _is_gap(self, time_s: float) -> bool:
        """Whether frames are missing for so long that another may stand there; where few come, none is missing."""
        if len(self._times_s) < 2:
            return False
        usual_s = (self._times_s[-1] - self._times_s[0]) / (len(self._times_s) - 1)
        return time_s - self._times_s[-1] > max(self._settings.lost_after_s, _GAP_S, _GAP_STEPS * usual_s)

    def _all_left(self) -> list[Track]:
        left, self._faces = self._faces, []
        return [self._snapshot(face) for face in left if face.confirmed]

    @property
    def is_steady(self) -> bool:
        """Whether no closer look is wanted: every face followed is confirmed, and none was lost just now."""
        return all(face.confirmed and not 0 < self._time_s - face.seen_s < _JUST_LOST_S for face in self._faces)

    @property
    def misses_one(self) -> bool:
        """Whether the last look did not find a face that is followed."""
        return any(face.seen_s < self._time_s for face in self._faces)

    def _observe(self, face: _Face, expected: Box, found: Box, time_s: float) -> None:
        dt = time_s - face.seen_s
        (ex, ey), (fx, fy) = expected.center, found.center
        rx, ry = fx - ex, fy - ey
        width = face.box.width + _SIZE_GAIN * (found.width - face.box.width)
        height = face.box.height + _SIZE_GAIN * (found.height - face.box.height)
        cx, cy = ex + _POSITION_GAIN * rx, ey + _POSITION_GAIN * ry
        if dt > 0:
            gain = _VELOCITY_GAIN / dt
            face.velocity = (face.velocity[0] + gain * rx, face.velocity[1] + gain * ry)
        face.box = Box(cx - width / 2, cy - height / 2, width, height)
        face.seen_s, face.found = time_s, found
        face.observations += 1
        self._confirm(face)

    def _confirm(self, face: _Face) -> None:
        face.confirmed = face.confirmed or face.observations >= self._settings.confirm_after

    def _forget(self, time_s: float) -> list[Track]:
        kept: list[_Face] = []
        left: list[_Face] = []
        for face in self._faces:
            # A face not yet confirmed must be seen again soon: false hits do not gather votes over seconds.
            patience = self._settings.lost_after_s if face.confirmed else self._settings.shown_for_s
            (kept if time_s - face.seen_s <= patience else left).append(face)
        self._faces = kept
        return [self._snapshot(face) for face in left if face.confirmed]

    def due(self, limit: int) -> list[Track]:
        """The tracks seen in this very frame whose label must be asked for, the longest waiting first."""
        due = [face for face in self._faces if face.seen_s == self._time_s and self._is_due(face)]
        due.sort(key=lambda face: face.classified_s)
        return [self._snapshot(face) for face in due[:limit]]

    def _is_due(self, face: _Face) -> bool:
        if face.box.size < self._metadata.min_face_px:
            return False
        settings = self._settings
        settled = (
            face.smoothed is not None
            and face.label is not Label.UNSURE
            and face.streak >= settings.settled_after
            and face.smoothed.max() >= settings.settled_confidence
        )
        waited_s = self._time_s - face.classified_s + 1e-6
        if not settled or face.classified_box is None:
            return not self._carried or waited_s >= settings.recheck_moving_s  # the same picture says nothing new
        side = max(face.classified_box.size, 1.0)
        (ax, ay), (bx, by) = face.classified_box.center, face.box.center
        still = (
            math.hypot(ax - bx, ay - by) < _STILL * side
            and abs(face.box.size - face.classified_box.size) < _STILL * side
        )
        wait = settings.recheck_s if still else settings.recheck_moving_s
        return waited_s >= wait

    def classified(self, track_id: int, probabilities: Sequence[float], usable: bool) -> None:
        """Take in the network's answer for a due track; ``usable`` is False for a crop too blurred to count."""
        face = next((face for face in self._faces if face.id == track_id), None)
        if face is None:
            return
        previous_s, face.classified_s, face.classified_box = face.classified_s, self._time_s, face.box
        face.classified += 1
        fresh = np.asarray(probabilities, np.float64)
        if not usable or not np.isfinite(fresh).all():  # one such answer would stay in the mean for ever
            return
        if face.smoothed is None:
            face.smoothed = fresh
        else:
            settled = face.streak >= self._settings.settled_after
            step = self._time_s - previous_s
            if not settled:
                step = min(step, _FIRST_MAX_STEP_S)
            weight = 1.0 - math.exp(-step / self._settings.smooth_s)
            face.smoothed = face.smoothed + weight * (fresh - face.smoothed)
        face.last = tuple(float(p) for p in fresh)
        face.evidence_s = self._time_s
        winner = self._metadata.labels[int(fresh.argmax())]
        face.streak = face.streak + 1 if winner is face.label else 0
        self._decide(face)

    def _decide(self, face: _Face) -> None:
        assert face.smoothed is not None
        labels, chances = self._metadata.labels, face.smoothed.tolist()
        best = int(face.smoothed.argmax())
        if labels[best] is not face.label and is_sure(chances, best, self._asked):
            face.label, face.streak = labels[best], 1
        elif face.label is not Label.UNSURE and not is_sure(
            chances, labels.index(face.label), self._asked, _LEAVE_MARGIN
        ):
            face.label, face.streak = Label.UNSURE, 0

    def tracks(self) -> tuple[Track, ...]:
        """The confirmed tracks that may be shown at the time of the last update."""
        limit = self._time_s - self._settings.shown_for_s
        return tuple(self._snapshot(f) for f in self._faces if f.confirmed and f.seen_s >= limit)

    def boxes(self) -> tuple[Box, ...]:
        """Where any face may be at the time of the last update: those not yet confirmed and those just lost too."""
        return tuple(face.predicted(self._time_s) for face in self._faces)

    def last_places(self) -> tuple[Box, ...]:
        """Where the faces that the last update did not find were found before: they may have stopped there."""
        return tuple(face.found for face in self._faces if face.seen_s < self._time_s)

    def stretch(self, horizontal: float, vertical: float) -> None:
        """The picture has another size from now on, each side so many times as long: all stay where they are in it."""
        for face in self._faces:
            face.box = face.box.stretched(horizontal, vertical)
            face.found = face.found.stretched(horizontal, vertical)
            face.velocity = (face.velocity[0] * horizontal, face.velocity[1] * vertical)
            if face.classified_box is not None:
                face.classified_box = face.classified_box.stretched(horizontal, vertical)

    def _snapshot(self, face: _Face) -> Track:
        stale = self._time_s - face.evidence_s > max(2.0, 2 * self._settings.recheck_s)
        label = Label.UNSURE if stale or face.box.size < self._metadata.min_face_px else face.label
        if face.smoothed is None:
            named = FaceLabel(Label.UNSURE, 0.0)
        else:
            index = int(face.smoothed.argmax()) if label is Label.UNSURE else self._metadata.labels.index(label)
            named = FaceLabel(label, float(face.smoothed[index]), tuple(float(p) for p in face.smoothed))
        return Track(
            id=face.id,
            box=face.box,
            label=named,
            velocity=face.velocity,
            first_s=face.first_s,
            seen_s=face.seen_s,
            observations=face.observations,
            classified=face.classified,
            confirmed=face.confirmed,
        )

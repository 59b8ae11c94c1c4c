"""Tracks faces over frames: stable ids, smoothed labels, and as few classifications as possible.

Association is greedy on overlap and distance between predicted and detected boxes; motion is an alpha-beta filter
(Kalata 1984). The tracker reads no clock: it uses only the stream times of the frames. Frames of a burst have almost
the same stream time; their motion, evidence and loss are computed with times that are spread.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from app.core.burst_spreader import BurstSpreader
from app.core.types import Box, Detection, FaceLabel, Label, Track
from app.settings.vision import TrackingSettings
from app.vision.classifier import is_sure, weigh_not_face
from app.vision.model_metadata import ClassifierMetadata

_POSITION_GAIN, _VELOCITY_GAIN, _SIZE_GAIN = 0.7, 0.3, 0.5
_MATCH_DISTANCE = 0.9
"""Largest distance between the centres of two matching boxes, in sides of the face."""
_MAX_SPEED = 15.0
"""Largest speed of a face, in its sides per second: a run across the image at 2.5 m/s."""
_MATCH_SIZES = 1.8
"""Largest ratio between the sides of two matching boxes."""
_LEAVE_MARGIN = 0.15
"""Hysteresis: a label is dropped when its probability falls this far below the threshold for choosing it."""
_SMOOTHED_SLACK = 0.15
"""Smoothed probabilities average several crops, so their two-way threshold is this much lower than for one crop."""
_STILL = 0.2
"""A face is still if it moved and grew by less than this share of its side since its last classification."""
_JUST_LOST_S = 0.15
"""A face lost for less than this time requires full detection passes; later the regular passes are enough."""
_AT_REST_IOU = 0.75
"""When the scene stops moving, a filtered box with a lower IoU is replaced by the detected box."""
_USUAL_STEPS, _GAP_STEPS, _GAP_S = 8, 3.0, 4.0
"""Frames are missing if the time step exceeds ``_GAP_STEPS`` times the mean of the last ``_USUAL_STEPS`` steps, and
``_GAP_S``: in less time, hardly anybody takes another person's place, and a machine may pause."""
_SCORE_RANGE, _MISSED = 0.15, 1 / 3
"""A detection with the score of a sure face counts as 1, with a score lower by this range as 0. A pass that misses the
face takes this share away, so an object that is detected only now and then does not become a person."""
_FIRST_MAX_STEP_S = 0.2
"""Longest time that one observation may represent, so that a single crop does not decide after a gap."""
_REJECT_INFERENCES = 3
"""A track is no face if the mean not_face of at least so many usable inferences is over ``max_not_face``."""


@dataclass(slots=True)
class _Face:
    """The state of one track. ``found`` is the last detected box, ``box`` the filtered one. ``first_s`` and ``stamp_s``
    are the stream times of the first and the last detection; all other times are spread. ``sure``: how many detections
    of a sure face its detections are worth. ``score``: that of the last detection. ``usable``: inferences on usable
    crops; ``not_face``: by how much their not_face exceeds ``max_not_face``, in sum."""

    id: int
    box: Box
    first_s: float
    stamp_s: float
    seen_s: float
    found: Box
    sure: float
    score: float
    velocity: tuple[float, float] = (0.0, 0.0)
    observations: int = 1
    confirmed: bool = False
    label: Label = Label.UNSURE
    smoothed: NDArray[np.float64] | None = None
    streak: int = 0
    classified: int = 0
    usable: int = 0
    not_face: float = 0.0
    classified_s: float = -math.inf
    classified_box: Box | None = None
    evidence_s: float = -math.inf
    last: tuple[float, ...] = field(default=())

    @property
    def is_rejected(self) -> bool:
        """Whether the classifier found over the life of the track that it is not a face."""
        return self.usable >= _REJECT_INFERENCES and self.not_face > 0

    @property
    def is_person(self) -> bool:
        return self.confirmed and not self.is_rejected

    def predicted(self, time_s: float) -> Box:
        dt = time_s - self.seen_s
        return self.box.moved(self.velocity[0] * dt, self.velocity[1] * dt)


def _affinity(expected: Box, found: Box) -> float:
    """How well two boxes match: 0 (not the same face) to 2."""
    side = max(expected.size, found.size, 1.0)
    (ax, ay), (bx, by) = expected.center, found.center
    distance = math.hypot(ax - bx, ay - by) / side
    ratio = max(expected.size, 1.0) / max(found.size, 1.0)
    if distance > _MATCH_DISTANCE or not 1 / _MATCH_SIZES < ratio < _MATCH_SIZES:
        return 0.0
    return expected.iou(found) + 1.0 - distance / _MATCH_DISTANCE


def _places(face: _Face, time_s: float, previous_s: float) -> list[Box]:
    """Where ``face`` may be: the predicted box and, if the previous frame contained it, its place there. The velocity
    may be wrong after a turn or a burst."""
    places = [face.predicted(time_s)]
    return [*places, face.found] if face.seen_s == previous_s else places


def _pairs(expected: Sequence[Sequence[Box]], found: Sequence[Box]) -> dict[int, int]:
    """The matches from index in ``expected`` to index in ``found``, the best one first."""
    pairs = sorted(
        (
            (max(_affinity(box, other) for box in boxes), e, f)
            for e, boxes in enumerate(expected)
            for f, other in enumerate(found)
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    matched: dict[int, int] = {}
    for affinity, e, f in pairs:
        if affinity > 0 and e not in matched and f not in matched.values():
            matched[e] = f
    return matched


def _bounded(x: float, y: float, size: float) -> tuple[float, float]:
    """The velocity (x, y), in px/s, at no more than ``_MAX_SPEED``."""
    scale = min(1.0, _MAX_SPEED * max(size, 1.0) / max(math.hypot(x, y), 1e-9))
    return x * scale, y * scale


def _is_duplicate(tracked: Box, found: Box) -> bool:
    """Whether ``found`` is a second detection of a tracked face."""
    cx, cy = found.center
    inside = tracked.x < cx < tracked.x2 and tracked.y < cy < tracked.y2
    return inside and tracked.iou(found) > 0.15


class Tracker:
    """Tracks the faces of one camera. ``metadata``: the classifier's labels and thresholds. ``sure_score``: detector
    score of a sure face, see ``DetectorSettings``. ``ids``: of new tracks; from 1 if not given."""

    def __init__(
        self,
        settings: TrackingSettings,
        metadata: ClassifierMetadata,
        sure_score: float = 0.0,
        ids: Iterator[int] | None = None,
    ) -> None:
        self._settings = settings
        self._metadata = metadata
        self.sure_score = sure_score
        min_two_way = max(metadata.min_two_way - _SMOOTHED_SLACK, 0.0)
        self._smoothed_metadata = metadata.model_copy(update={"min_two_way": min_two_way})
        self._faces: list[_Face] = []
        self._weak: dict[Box, float] = {}
        """When each weak detection that belongs to no track was found last."""
        self._ids = ids or count(1)
        self._spreader = BurstSpreader()
        self._time_s = self._stamp_s = -math.inf
        self._times_s: deque[float] = deque(maxlen=_USUAL_STEPS + 1)
        self._carried = False

    def apply(self, settings: TrackingSettings) -> None:
        """Applies new settings and keeps the current tracks."""
        self._settings = settings

    def update(self, detections: Sequence[Detection], time_s: float) -> list[Track]:
        """Adds the detections of the frame at ``time_s``; returns the tracks that left, as last seen.

        After a gap without frames all tracks leave, because another person may stand in the same place.
        """
        now_s = self._spreader.spread(time_s)
        left = self.end_all() if self._is_gap(now_s) else []
        previous_s = self._time_s
        self._advance(time_s, now_s, carried=False)
        found = [detection.box for detection in detections]
        faces = list(self._faces)
        matched = _pairs([_places(face, now_s, previous_s) for face in faces], found)
        for f, d in matched.items():
            self._observe(faces[f], detections[d])
        tracked = [faces[f].box for f in matched]
        for f, face in enumerate(faces):
            if f not in matched and not face.confirmed:
                face.sure = max(face.sure - _MISSED, 0.0)
        self._weak = {box: at_s for box, at_s in self._weak.items() if now_s - at_s <= self._settings.shown_for_s}
        for d, box in enumerate(found):
            if d in matched.values() or any(_is_duplicate(other, box) for other in tracked):
                continue
            sure = self._sureness(detections[d])
            if sure <= 0:  # a weak detection only continues a track
                self._weak[box] = now_s
            else:
                face = _Face(next(self._ids), box, time_s, time_s, now_s, box, sure, detections[d].score)
                self._faces.append(face)
                tracked.append(box)
                self._confirm(face)
        return left + self._forget()

    def carry(self, time_s: float) -> list[Track]:
        """Updates the tracks to ``time_s`` without a detection pass, because nothing moved.

        Every face of the last update counts as observed again in the same place. Returns the tracks that left.
        """
        previous_s = self._time_s
        self._advance(time_s, self._spreader.spread(time_s), carried=True)
        for face in self._faces:
            if face.seen_s == previous_s:
                face.seen_s, face.stamp_s, face.velocity = self._time_s, time_s, (0.0, 0.0)
                face.observations += 1
                if face.box.iou(face.found) < _AT_REST_IOU:  # the filter had not converged
                    face.box = face.found
        self._weak = {box: self._time_s if at_s == previous_s else at_s for box, at_s in self._weak.items()}
        return self._forget()

    def _advance(self, stamp_s: float, time_s: float, carried: bool) -> None:
        self._time_s, self._stamp_s, self._carried = time_s, stamp_s, carried
        self._times_s.append(time_s)

    def _is_gap(self, time_s: float) -> bool:
        """Whether frames are missing for so long that another person may stand there; not if frames are always rare."""
        if len(self._times_s) < 2:
            return False
        mean_step_s = (self._times_s[-1] - self._times_s[0]) / (len(self._times_s) - 1)
        return time_s - self._times_s[-1] > max(self._settings.lost_after_s, _GAP_S, _GAP_STEPS * mean_step_s)

    def end_all(self) -> list[Track]:
        """Ends all tracks, because the scene has changed. Returns those that were people."""
        left, self._faces = self._faces, []
        self._weak = {}
        return [self._snapshot(face) for face in left if face.is_person]

    @property
    def is_steady(self) -> bool:
        """Whether no full detection pass is required: every face is confirmed, and none was lost just now."""
        return all(face.confirmed and not 0 < self._time_s - face.seen_s < _JUST_LOST_S for face in self._faces)

    @property
    def has_missed_face(self) -> bool:
        """Whether the last detection pass did not find one of the tracked faces."""
        return any(face.seen_s < self._time_s for face in self._faces)

    def _sureness(self, detection: Detection) -> float:
        """How much ``detection`` counts towards a person: 0 to 1."""
        return min(max(1 + (detection.score - self.sure_score) / _SCORE_RANGE, 0.0), 1.0)

    def _observe(self, face: _Face, detection: Detection) -> None:
        found = detection.box
        dt = self._time_s - face.seen_s
        expected = face.predicted(self._time_s)
        if _affinity(expected, found) <= 0:  # it is still where it was
            expected, face.velocity = face.found, (0.0, 0.0)
        (ex, ey), (fx, fy) = expected.center, found.center
        rx, ry = fx - ex, fy - ey
        width = face.box.width + _SIZE_GAIN * (found.width - face.box.width)
        height = face.box.height + _SIZE_GAIN * (found.height - face.box.height)
        cx, cy = ex + _POSITION_GAIN * rx, ey + _POSITION_GAIN * ry
        gain = _VELOCITY_GAIN / dt
        face.velocity = _bounded(face.velocity[0] + gain * rx, face.velocity[1] + gain * ry, found.size)
        face.box = Box(cx - width / 2, cy - height / 2, width, height)
        face.seen_s, face.stamp_s, face.found = self._time_s, self._stamp_s, found
        face.observations += 1
        face.sure += self._sureness(detection)
        face.score = detection.score
        self._confirm(face)

    def _confirm(self, face: _Face) -> None:
        face.confirmed = face.confirmed or face.sure >= self._settings.confirm_after - 1e-6

    def _forget(self) -> list[Track]:
        kept: list[_Face] = []
        left: list[_Face] = []
        for face in self._faces:
            # Others must be detected again soon: false positives must not add up over seconds.
            limit_s = self._settings.lost_after_s if face.is_person else self._settings.shown_for_s
            (kept if self._time_s - face.seen_s <= limit_s else left).append(face)
        self._faces = kept
        return [self._snapshot(face) for face in left if face.is_person]

    def due(self, limit: int) -> list[Track]:
        """At most ``limit`` tracks detected in this frame that must be classified, the longest waiting first."""
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
        ) or (face.is_rejected and self._not_face(face.last) > self._metadata.max_not_face)
        waited_s = self._time_s - face.classified_s + 1e-6
        if not settled or face.classified_box is None:
            return not self._carried or waited_s >= settings.recheck_moving_s  # the same image gives the same answer
        side = max(face.classified_box.size, 1.0)
        (ax, ay), (bx, by) = face.classified_box.center, face.box.center
        is_still = (
            math.hypot(ax - bx, ay - by) < _STILL * side
            and abs(face.box.size - face.classified_box.size) < _STILL * side
        )
        wait_s = settings.recheck_s if is_still else settings.recheck_moving_s
        return waited_s >= wait_s

    def classified(self, track_id: int, probabilities: Sequence[float], usable: bool) -> None:
        """Adds the classifier's probabilities for a due track; ``usable`` is False if the crop is too blurred."""
        face = next((face for face in self._faces if face.id == track_id), None)
        if face is None:
            return
        previous_s, face.classified_s, face.classified_box = face.classified_s, self._time_s, face.box
        face.classified += 1
        row = np.asarray(probabilities, np.float32)
        if self.sure_score > 0:  # the scores are those of YuNet
            row = weigh_not_face(row[None], [face.score], self._metadata)[0]
        fresh = row.astype(np.float64)
        if not usable or not np.isfinite(fresh).all():  # NaN would stay in the mean forever
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
        face.usable += 1
        face.not_face += self._not_face(face.last) - self._metadata.max_not_face
        face.evidence_s = self._time_s
        winner = self._metadata.labels[int(fresh.argmax())]
        face.streak = face.streak + 1 if winner is face.label else 0
        self._decide(face)

    def _not_face(self, probabilities: Sequence[float]) -> float:
        labels = self._metadata.labels
        return probabilities[labels.index(Label.NOT_FACE)] if Label.NOT_FACE in labels else 0.0

    def _decide(self, face: _Face) -> None:
        assert face.smoothed is not None
        labels, smoothed = self._metadata.labels, face.smoothed.tolist()
        best = int(face.smoothed.argmax())
        if labels[best] not in (face.label, Label.NOT_FACE) and is_sure(smoothed, best, self._smoothed_metadata):
            face.label, face.streak = labels[best], 1
        elif face.label is not Label.UNSURE and not is_sure(
            smoothed, labels.index(face.label), self._smoothed_metadata, _LEAVE_MARGIN
        ):
            face.label, face.streak = Label.UNSURE, 0

    def tracks(self) -> tuple[Track, ...]:
        """The confirmed tracks that are shown at the time of the last update."""
        limit = self._time_s - self._settings.shown_for_s
        return tuple(self._snapshot(f) for f in self._faces if f.is_person and f.seen_s >= limit)

    def detected(self) -> tuple[Track, ...]:
        """All faces of the last update that it found, also those that are not confirmed."""
        return tuple(self._snapshot(face) for face in self._faces if face.seen_s == self._time_s)

    def rejected(self) -> tuple[Track, ...]:
        """Tracks that were detected often enough for a person, but that the classifier rejects as not a face. Later
        inferences can reverse this."""
        return tuple(self._snapshot(face) for face in self._faces if face.confirmed and face.is_rejected)

    def boxes(self) -> tuple[Box, ...]:
        """Predicted boxes of all faces at the last update, including unconfirmed and lost ones."""
        return tuple(face.predicted(self._time_s) for face in self._faces)

    def last_found_boxes(self) -> tuple[Box, ...]:
        """Last detected boxes of the faces that the last update did not find: they may have stopped there. Also of
        recent weak detections without a track, which may be faces."""
        return (*(face.found for face in self._faces if face.seen_s < self._time_s), *self._weak)

    def stretch(self, horizontal: float, vertical: float) -> None:
        """Scales all tracks to a new image size; the factors are new size divided by old size."""
        self._weak = {box.stretched(horizontal, vertical): at_s for box, at_s in self._weak.items()}
        for face in self._faces:
            face.box = face.box.stretched(horizontal, vertical)
            face.found = face.found.stretched(horizontal, vertical)
            face.velocity = (face.velocity[0] * horizontal, face.velocity[1] * vertical)
            if face.classified_box is not None:
                face.classified_box = face.classified_box.stretched(horizontal, vertical)

    def _snapshot(self, face: _Face) -> Track:
        is_stale = self._time_s - face.evidence_s > max(2.0, 2 * self._settings.recheck_s)
        label = Label.UNSURE if is_stale or face.box.size < self._metadata.min_face_px else face.label
        if face.smoothed is None:
            face_label = FaceLabel(Label.UNSURE, 0.0)
        else:
            index = int(face.smoothed.argmax()) if label is Label.UNSURE else self._metadata.labels.index(label)
            face_label = FaceLabel(label, float(face.smoothed[index]), tuple(float(p) for p in face.smoothed))
        return Track(
            id=face.id,
            box=face.box,
            label=face_label,
            velocity=face.velocity,
            first_s=face.first_s,
            seen_s=face.stamp_s,
            observations=face.observations,
            classified=face.classified,
            confirmed=face.is_person,
            latest=dict(zip(self._metadata.labels, face.last, strict=False)),
            latest_s=face.evidence_s,
            detected=min(max(face.sure / face.observations, 0.0), 1.0),
            score=face.score,
        )

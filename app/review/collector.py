"""Chooses faces that a better model could learn from, and stores them in a thread of its own."""

import hashlib
import logging
import math
import random
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.alerts.retention_clock import DAY_S
from app.core.images import cut, jpeg_bytes, jpeg_image, resize, square
from app.core.types import SAME_FACE_IOU, Box, Event, Frame, FrameResult, Image, Label, Track
from app.review.clips import lower_priority
from app.review.collected import CROP, SCENE, CollectedFace, CollectedFaces
from app.review.picture_folder import PictureFolder, day_of
from app.settings.review import CollectSettings

log = logging.getLogger(__name__)

MIN_FACE_PX, MIN_INFERENCES, MIN_TRACK_S = 32, 3, 1.0
SURE_LABEL, SURE_DETECTOR, UNSURE_DETECTOR = 0.9, 0.9, 0.5
_CROP_MARGIN = 0.5
_THUMBNAIL_PX, _SAME_CORRELATION, _COMPARED = 32, 0.95, 300
"""A face whose thumbnail correlates with one of the last ``_COMPARED`` by this much is a near-duplicate: see
``near_duplicates`` of the training."""
_MAX_QUEUE = 4
_MAX_TRACKS = 1000
_QUALITY = 92


def reason_of(track: Track, time_s: float) -> str:
    """Why the model can learn from ``track``: ``unsure``, ``disagreement`` of the detector, the classifier and the
    label so far, or '' if it cannot."""
    is_usable = track.box.size >= MIN_FACE_PX and track.classified >= MIN_INFERENCES
    if not is_usable or time_s - track.first_s < MIN_TRACK_S or time_s - track.latest_s > MIN_TRACK_S:
        return ""
    label = track.label.label
    best = max(track.latest, key=lambda each: track.latest[each], default=label)
    is_certain = track.latest.get(best, 0.0) >= SURE_LABEL
    if best is Label.NOT_FACE and track.detected >= SURE_DETECTOR:
        return "disagreement"
    if is_certain and best is not Label.NOT_FACE and track.detected < UNSURE_DETECTOR:
        return "disagreement"
    if label is Label.UNSURE:
        return "unsure"
    return "disagreement" if is_certain and best is not label else ""


@dataclass(frozen=True, slots=True)
class _Chosen:
    item_id: str
    reason: str
    track: Track
    result: FrameResult


class Collector:
    """``on_result`` and ``on_event`` return at once; the thread of the dispatcher calls them."""

    def __init__(self, settings: CollectSettings, folder: PictureFolder, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._faces = CollectedFaces(folder)
        self._rng = rng or random.Random()
        self._changed = threading.Condition()
        self._queue: deque[_Chosen] = deque()
        self._stopping = self._is_writing = self._failed = False
        self._taken: deque[tuple[str, int]] = deque(maxlen=_MAX_TRACKS)
        self._random_at_s: float | None = None
        self._today = ""
        self._count: Counter[str] = Counter()
        self._thumbnails: deque[NDArray[np.float32]] = deque(maxlen=_COMPARED)
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_result(self, result: FrameResult) -> None:
        frame = result.frame
        if self._random_at_s is None:
            self._random_at_s = self._next_random_s(frame.wall_s)
        for track in (*result.tracks, *result.rejected):
            key = (frame.camera, track.id)
            reason = reason_of(track, frame.time_s)
            if reason and key not in self._taken:
                self._taken.append(key)
                self._choose(_Chosen(_item_id(reason, track, frame), reason, track, result))
        big = [track for track in result.tracks if track.box.size >= MIN_FACE_PX]
        if big and frame.wall_s >= self._random_at_s:
            self._random_at_s = self._next_random_s(frame.wall_s)
            track = self._rng.choice(big)
            self._choose(_Chosen(_item_id("random", track, frame), "random", track, result))

    def on_event(self, event: Event, result: FrameResult | None) -> None:
        """The face of an alert is kept, so that a verdict on it can become an example."""
        tracks = () if result is None or event.resolves else result.tracks
        track = next((track for track in tracks if track.id == event.track_id), None)
        if track is not None and result is not None:
            self._choose(_Chosen(event.id, "event", track, result))

    def close(self, timeout_s: float = 1.0) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    @property
    def is_idle(self) -> bool:
        with self._changed:
            return not self._queue and not self._is_writing

    def _next_random_s(self, wall_s: float) -> float:
        """Exponential pauses: each moment is as likely as any other."""
        per_day = self._settings.random_per_day
        return wall_s + self._rng.expovariate(per_day / DAY_S) if per_day else math.inf

    def _choose(self, chosen: _Chosen) -> None:
        """Half of the day's faces are reserved for events."""
        day = day_of(chosen.result.frame.wall_s)
        with self._changed:
            if day != self._today:
                self._today, self._count = day, Counter()
            others = self._count.total() - self._count["event"]
            limit = self._settings.per_day if chosen.reason == "event" else (self._settings.per_day + 1) // 2
            used = self._count.total() if chosen.reason == "event" else others
            is_full = used >= limit or self._count.total() >= self._settings.per_day
            if not is_full and len(self._queue) < _MAX_QUEUE:
                self._count[chosen.reason] += 1
                self._queue.append(chosen)
                self._changed.notify_all()

    def _run(self) -> None:
        lower_priority()
        try:
            self._load()
            while (chosen := self._next()) is not None:
                try:
                    if not self._store(chosen):
                        with self._changed:
                            self._count[chosen.reason] -= 1
                except OSError as error:
                    self._faces.folder.delete_item(chosen.item_id)
                    if not self._failed:
                        log.warning(
                            "cannot collect faces in %s: %s; watching continues, check its disk",
                            self._faces.folder.path,
                            error.strerror or error,
                        )
                    self._failed = True
        except Exception:  # the thread guard: a fault ends the collection, never the watching
            log.exception("faces are no longer collected; please report it")

    def _next(self) -> _Chosen | None:
        with self._changed:
            self._is_writing = False
            while not self._queue and not self._stopping:
                self._changed.wait(0.5)
            if not self._queue:
                return None
            self._is_writing = True
            return self._queue.popleft()

    def _load(self) -> None:
        """What earlier runs collected counts for today's limit and for near-duplicates."""
        faces = list(self._faces.faces())
        for face in faces[-_COMPARED:]:
            crop = self._faces.folder.read(face.id, CROP)
            if crop is not None and (image := jpeg_image(crop)) is not None:
                self._thumbnails.append(_thumbnail(image, face.crop_box))
        today = day_of(time.time())
        with self._changed:
            if self._today in ("", today):
                self._today = today
                self._count.update("event" if f.verdict else f.reason for f in faces if day_of(f.wall_s) == today)

    def _store(self, chosen: _Chosen) -> bool:
        """Returns whether the face is stored: not if it is a near-duplicate. Raises OSError."""
        from app.ui.canvas import blur_faces  # imported late: most runs collect nothing

        result, track = chosen.result, chosen.track
        image = result.frame.image.copy()
        height, width = image.shape[:2]
        box = track.box.clipped(width, height)
        if box.size < 1:
            return False
        thumbnail = _thumbnail(image, box)
        if any(float(thumbnail @ other) >= _SAME_CORRELATION for other in self._thumbnails):
            return False
        self._thumbnails.append(thumbnail)
        others = tuple(each.clipped(width, height) for each in result.faces if each.iou(track.box) < SAME_FACE_IOU)
        blur_faces(image, others)
        area = square(box, _CROP_MARGIN)
        x, y = max(round(area.x), 0), max(round(area.y), 0)
        crop = image[y : round(area.y2), x : round(area.x2)]
        face = CollectedFace(
            id=chosen.item_id,
            reason=chosen.reason,
            camera=result.frame.camera,
            wall_s=result.frame.wall_s,
            label=track.label.label.value,
            confidence=track.label.confidence,
            box=box,
            size=(width, height),
            crop_box=box.moved(-x, -y),
            crop_size=(crop.shape[1], crop.shape[0]),
            others=tuple(each for each in others if each.size >= 1),
            score=track.score,
        )
        folder = self._faces.folder
        folder.create()
        folder.file(face.id, CROP).write_bytes(jpeg_bytes(crop, _QUALITY))
        if self._settings.scenes:
            folder.file(face.id, SCENE).write_bytes(jpeg_bytes(image, _QUALITY))
        self._faces.write(face)
        return True


def _item_id(reason: str, track: Track, frame: Frame) -> str:
    camera = hashlib.sha256(frame.camera.encode()).hexdigest()[:8]  # a name may be too long for a file
    return f"{frame.wall_s:.2f}-{camera}-{reason}-{track.id}"


def _thumbnail(image: Image, box: Box) -> NDArray[np.float32]:
    """The face as a vector of length 1: the product of two is their correlation."""
    small = resize(cut(image, square(box, 0.1)), _THUMBNAIL_PX, _THUMBNAIL_PX).mean(axis=2).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length else small).astype(np.float32)  # type: ignore[no-any-return]

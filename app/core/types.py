"""The data types that modules exchange. They are frozen and have no methods except geometry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR unless a docstring says otherwise."""


class Label(StrEnum):
    """The label of a face. ``UNSURE`` is not a class of the model: it means that no class is confident enough.

    ``NOT_FACE`` is a class of some models and the label of hard negatives. A detection with it is no face, so it is not
    shown, counted or reported: ``FACE_LABELS`` are the labels that people see."""

    MASK = "mask"
    NO_MASK = "no_mask"
    INCORRECT = "incorrect"
    UNSURE = "unsure"
    NOT_FACE = "not_face"


FACE_LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.UNSURE)


SAME_FACE_IOU = 0.5
"""From this IoU on, two boxes show the same face."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned bounding box in source pixels; (x, y) is the top-left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def x2(self) -> float:
        return self.x + self.width

    @property
    def y2(self) -> float:
        return self.y + self.height

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def size(self) -> float:
        """The shorter side in px: the size of a face."""
        return min(self.width, self.height)

    def scaled(self, factor: float) -> "Box":
        return self.stretched(factor, factor)

    def stretched(self, horizontal: float, vertical: float) -> "Box":
        return Box(self.x * horizontal, self.y * vertical, self.width * horizontal, self.height * vertical)

    def moved(self, dx: float, dy: float) -> "Box":
        return Box(self.x + dx, self.y + dy, self.width, self.height)

    def clipped(self, width_px: float, height_px: float) -> "Box":
        """The part inside an image of that size; width or height is 0 if the box is outside."""
        x, y = min(max(self.x, 0.0), width_px), min(max(self.y, 0.0), height_px)
        x2, y2 = min(max(self.x2, x), width_px), min(max(self.y2, y), height_px)
        return Box(x, y, x2 - x, y2 - y)

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        w = min(self.x2, other.x2) - max(self.x, other.x)
        h = min(self.y2, other.y2) - max(self.y, other.y)
        if w <= 0 or h <= 0:
            return 0.0
        return w * h / (self.area + other.area - w * h)


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a source.

    ``time_s`` is stream time (seconds since the first frame: the only clock of tracker and policy),
    ``captured_s`` is ``time.monotonic()`` at capture (for ages), ``wall_s`` is Unix time (for events).
    """

    image: Image
    index: int
    time_s: float
    captured_s: float
    wall_s: float
    camera: str


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected face: bounding box in source pixels and score from 0 to 1. ``landmarks`` is empty or five (x, y)
    pixels: right eye, left eye, nose tip, right and left mouth corner (right as seen by the person)."""

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] = ()

    def mapped(self, scale_x: float, scale_y: float, dx: float = 0.0, dy: float = 0.0) -> "Detection":
        """The detection in another image: its box and landmarks scaled, then moved."""
        landmarks = tuple((x * scale_x + dx, y * scale_y + dy) for x, y in self.landmarks)
        return Detection(self.box.stretched(scale_x, scale_y).moved(dx, dy), self.score, landmarks)


@dataclass(frozen=True, slots=True)
class FaceLabel:
    """A label with its confidence (0 to 1) and the probabilities of all labels, in the model's order."""

    label: Label
    confidence: float
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Track:
    """The state of a tracked face at one moment. ``velocity`` is (x, y) in px/s; ``first_s`` and ``seen_s`` are the
    stream times of the first and the last detection. ``observations`` counts detections, ``classified`` inferences.
    ``confirmed``: it is a person, detected often enough and not rejected by the classifier as not a face.
    ``latest``: probabilities by label of the last usable inference, at ``latest_s``. ``detected``: how sure the
    detector was on average, 0 to 1; ``score``: its score of the last detection."""

    id: int
    box: Box
    label: FaceLabel
    velocity: tuple[float, float]
    first_s: float
    seen_s: float
    observations: int
    classified: int
    confirmed: bool
    latest: Mapping[Label, float] = field(default_factory=dict)
    latest_s: float = -math.inf
    detected: float = 1.0
    score: float = 1.0

    def box_at(self, time_s: float, limit_s: float = 0.5) -> Box:
        """The predicted box at ``time_s``; the velocity is applied for at most ``limit_s``."""
        dt = min(max(time_s - self.seen_s, 0.0), limit_s)
        return self.box.moved(self.velocity[0] * dt, self.velocity[1] * dt)


class EventKind(StrEnum):
    NO_MASK = "no_mask"
    INCORRECT = "incorrect"
    RESOLVED = "resolved"
    CAMERA_OFFLINE = "camera_offline"
    CAMERA_RECOVERED = "camera_recovered"
    CAMERA_CHANGED = "camera_changed"
    NODE_OFFLINE = "node_offline"  # of a fleet: raised by the hub
    NODE_ONLINE = "node_online"
    PART_FAILED = "part_failed"  # ``camera`` is the part: the event store, a channel, a thread, the classifier
    PART_RECOVERED = "part_recovered"
    REPORT = "report"  # the numbers of a day, week or month
    OCCUPANCY_REACHED = "occupancy_reached"  # ``people`` are inside, as many as the limit or more
    OCCUPANCY_BELOW = "occupancy_below"


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``id`` is unique and part of each delivery's idempotency key; ``time_s`` is stream time, ``wall_s``
    Unix time, ``duration_s`` the seconds that the state lasted. Without a face, ``track_id`` is 0 and ``box`` None.

    ``reason`` says why an alert was resolved or what failed at a camera; ``resolves`` is the id of the alert that a
    ``resolved`` event ends; ``people`` is the number of faces in an alert for a group, or of the people inside;
    ``zone`` is the name of the zone in which a face alerted. The frame's size is 0 without a box, and in events that an
    older version stored."""

    id: str
    kind: EventKind
    camera: str
    time_s: float
    wall_s: float
    track_id: int = 0
    confidence: float = 0.0
    duration_s: float = 0.0
    box: Box | None = None
    reason: str = ""
    resolves: str = ""
    people: int = 1
    frame_width_px: int = 0
    frame_height_px: int = 0
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A face passed over the counting line with this name; ``entered``: towards the inside."""

    line: str
    entered: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts by label. ``now``: the people in view, by the label that they show. ``seen``: the people counted so far,
    each once, also those in view (today's in a ``CameraView`` of a live camera). ``leaving``: those who left with this
    frame. ``here``: those in view, by the label that they would count as."""

    now: Mapping[Label, int]
    seen: Mapping[Label, int]
    leaving: Mapping[Label, int] = field(default_factory=dict)
    here: Mapping[Label, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds that each stage spent on one frame; ``classify_s`` is 0 if no face was classified."""

    detect_s: float = 0.0
    classify_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The result of one analysed frame: ``tracks`` are the confirmed tracks to show, ``left`` those that ended,
    ``events`` the events raised, ``alerts`` those still open. ``faces`` are the boxes to blur: all possible faces,
    also of unconfirmed and lost tracks. ``waiting``: for tracks that will alert, the share of the dwell time so far.
    ``rejected``: confirmed tracks that the classifier rejects as not a face. ``crossings``: who passed a counting
    line."""

    frame: Frame
    tracks: tuple[Track, ...]
    left: tuple[Track, ...]
    counts: Counts
    events: tuple[Event, ...]
    alerts: tuple[Event, ...]
    times: StageTimes
    faces: tuple[Box, ...] = ()
    waiting: Mapping[int, float] = field(default_factory=dict)
    rejected: tuple[Track, ...] = ()
    crossings: tuple[Crossing, ...] = ()

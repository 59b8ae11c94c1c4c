"""The nouns that pass between modules. Frozen, without behaviour beyond their own geometry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR unless a docstring says otherwise."""


class Label(StrEnum):
    """What is said of a face. ``UNSURE`` is never a class of a model: it is our refusal to choose."""

    MASK = "mask"
    NO_MASK = "no_mask"
    INCORRECT = "incorrect"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in source pixels; (x, y) is the top-left corner."""

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
        """The shorter side, px: what is meant by the size of a face."""
        return min(self.width, self.height)

    def scaled(self, factor: float) -> "Box":
        return self.stretched(factor, factor)

    def stretched(self, horizontal: float, vertical: float) -> "Box":
        return Box(self.x * horizontal, self.y * vertical, self.width * horizontal, self.height * vertical)

    def moved(self, dx: float, dy: float) -> "Box":
        return Box(self.x + dx, self.y + dy, self.width, self.height)

    def clipped(self, width_px: float, height_px: float) -> "Box":
        """The part inside a picture of that size; its sides are 0 where nothing is."""
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
    """One picture of a source.

    ``time_s`` is stream time (seconds since the source began: the only clock of tracker and policy),
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
    """A face found by a detector: box in source pixels, score 0 to 1, and five points where the detector gives
    them: right eye, left eye, nose tip, right and left mouth corner (the person's right), as (x, y) pixels."""

    box: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class FaceLabel:
    """A label with its confidence (0 to 1) and the probabilities behind it, in the model's label order."""

    label: Label
    confidence: float
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Track:
    """One face over time, as seen at one moment. ``velocity`` is (x, y) in px/s; ``seen_s`` and ``first_s`` are
    stream times; ``observations`` counts detections, ``classified`` the labels asked of the network."""

    id: int
    box: Box
    label: FaceLabel
    velocity: tuple[float, float]
    first_s: float
    seen_s: float
    observations: int
    classified: int
    confirmed: bool

    def box_at(self, time_s: float, limit_s: float = 0.5) -> Box:
        """Where the face should be at ``time_s``, carried on by its velocity for at most ``limit_s``."""
        dt = min(max(time_s - self.seen_s, 0.0), limit_s)
        return self.box.moved(self.velocity[0] * dt, self.velocity[1] * dt)


class EventKind(StrEnum):
    NO_MASK = "no_mask"
    INCORRECT = "incorrect"
    RESOLVED = "resolved"
    CAMERA_OFFLINE = "camera_offline"
    CAMERA_RECOVERED = "camera_recovered"


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling. ``id`` is unique and is the idempotency key of every delivery; ``time_s`` is stream
    time, ``wall_s`` Unix time; ``duration_s`` how long it had lasted; ``track_id`` 0 and ``box`` ``None`` where no
    face is meant; ``reason`` says why it ended (``resolved``) or what failed (``camera_offline``); ``resolves`` is the
    id of the alert that a ``resolved`` event ends; ``people`` is how many faces an alert for a crowd stands for."""

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


@dataclass(frozen=True, slots=True)
class Counts:
    """Faces in the picture now, by label; people (tracks) as the census counts them: all seen so far, those that left
    with this frame, and those still here."""

    now: Mapping[Label, int]
    seen: Mapping[Label, int]
    leaving: Mapping[Label, int] = field(default_factory=dict)
    here: Mapping[Label, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Seconds spent on one frame by each stage; 0 of ``classify_s`` where no face was due."""

    detect_s: float = 0.0
    classify_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameResult:
    """All that one analysed frame gave: the confirmed tracks shown, those that left with it, the events it raised,
    the alerts still open after it, how many people, what it cost. ``faces`` are the boxes of all that may be a face,
    those not yet or no longer sure to be one included: what must be blurred where faces may not be seen."""

    frame: Frame
    tracks: tuple[Track, ...]
    left: tuple[Track, ...]
    counts: Counts
    events: tuple[Event, ...]
    alerts: tuple[Event, ...]
    times: StageTimes
    faces: tuple[Box, ...] = ()

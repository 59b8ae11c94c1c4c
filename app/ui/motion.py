"""What a window remembers of a camera between two images: eased boxes, faces that fade out, pictures of alerts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from app.core.types import Box, Event, FrameResult, Image, Label, Track
from app.pipeline.camera import CameraView
from app.ui.cards import Picture

_EASE_S = 0.06
"""Time constant of the movement of a box towards its place."""
_FADE_S = 0.35
"""How long a face or an alert that has ended stays visible."""
_JUMP = 0.6
"""A box that is further away, in its own size, is not eased: it would lag behind its face."""
_PICTURE_MARGIN, _PICTURE_PX = 0.3, 240
"""The picture of a face shows so much more on each side, as a share of the face, and is at most so wide."""


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert to show. ``is_resolving``: the face is covered or out of sight, but the alert is still open. ``for_s``:
    how long it was bare."""

    event: Event
    picture: Picture | None
    for_s: float
    is_resolving: bool = False
    opacity: float = 1.0


@dataclass(slots=True)
class Motion:
    """Used by one window for one camera; ``places`` keeps where the label of each track was put."""

    places: dict[int, int] = field(default_factory=dict)
    _faces: dict[int, tuple[Track, float]] = field(default_factory=dict)
    _alerts: dict[str, tuple[ShownAlert, float]] = field(default_factory=dict)
    _drawn_s: float = -math.inf

    def faces(self, view: CameraView, now_s: float) -> tuple[list[Track], dict[int, float]]:
        """The tracks with eased boxes, and those that fade out; the opacity of these by track."""
        share = 1 - math.exp(-(now_s - self._drawn_s) / _EASE_S)
        self._drawn_s = now_s
        for track in view.tracks:
            before = self._faces.get(track.id)
            box = track.box if before is None else _eased(before[0].box, track.box, share)
            self._faces[track.id] = track if box is track.box else replace(track, box=box), now_s
        self._faces = {id_: kept for id_, kept in self._faces.items() if now_s - kept[1] < _FADE_S}
        self.places = {id_: place for id_, place in self.places.items() if id_ in self._faces}
        fading = {id_: 1 - (now_s - seen_s) / _FADE_S for id_, (_, seen_s) in self._faces.items() if seen_s < now_s}
        return [track for track, _ in self._faces.values()], fading

    def alerts(self, view: CameraView, now_s: float) -> list[ShownAlert]:
        """The open alerts, and those that fade out."""
        pictures = {id_: shown.picture for id_, (shown, _) in self._alerts.items()}
        for alert in open_alerts(view.alerts, view.analysed, pictures):
            self._alerts[alert.event.id] = alert, now_s
        self._alerts = {id_: kept for id_, kept in self._alerts.items() if now_s - kept[1] < _FADE_S}
        return [
            alert if seen_s == now_s else replace(alert, opacity=1 - (now_s - seen_s) / _FADE_S)
            for alert, seen_s in self._alerts.values()
        ]


def open_alerts(
    alerts: Sequence[Event], result: FrameResult | None, pictures: Mapping[str, Picture | None] | None = None
) -> list[ShownAlert]:
    """``alerts``, with pictures of the faces that are bare in ``result``, or the ``pictures`` taken before."""
    tracks = result.tracks if result is not None else ()
    bare = {track.id: track for track in tracks if track.label.label in (Label.NO_MASK, Label.INCORRECT)}
    shown = []
    for event in alerts:
        track = bare.get(event.track_id)
        picture = (pictures or {}).get(event.id)
        if picture is None and track is not None and result is not None:
            picture = _picture(result.frame.image, track.box)
        for_s = (result.frame.time_s if result is not None else event.time_s) - event.time_s + event.duration_s
        shown.append(ShownAlert(event, picture, max(0.0, for_s), track is None and event.people == 1))
    return shown


def _picture(image: Image, box: Box) -> Picture:
    """The face in ``box`` with some margin, square and small; a copy."""
    height, width = image.shape[:2]
    side = int(min(max(box.width, box.height) * (1 + 2 * _PICTURE_MARGIN), width, height))
    x, y = box.center
    left, top = (int(np.clip(at - side / 2, 0, most - side)) for at, most in ((x, width), (y, height)))
    part, small = image[top : top + side, left : left + side], (min(side, _PICTURE_PX),) * 2
    return Picture(cv2.resize(part, small, interpolation=cv2.INTER_AREA) if side > _PICTURE_PX else part.copy())  # type: ignore[arg-type]


def _eased(old: Box, new: Box, share: float) -> Box:
    (x, y), (new_x, new_y) = old.center, new.center
    if math.hypot(new_x - x, new_y - y) > _JUMP * max(new.size, 1.0):
        return new
    keep = 1 - share
    return Box(
        new.x + (old.x - new.x) * keep,
        new.y + (old.y - new.y) * keep,
        new.width + (old.width - new.width) * keep,
        new.height + (old.height - new.height) * keep,
    )

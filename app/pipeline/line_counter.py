"""Counts the faces that pass over lines. No clock, no image: only the stream times and places of the tracks.

The point that counts is the centre of the bounding box of the face: its edges move when a mask is put on or the head
turns. A face is surely on one side of a line when its centre is more than half a face away from it, so who stands on
the line and moves a little is not counted. It has passed when it was surely on the one side and is surely on the other,
and went between the ends of the line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from app.core.types import Crossing, Track
from app.settings.monitor import LineSettings

_SURE = 0.5
"""A face is surely on one side of a line at this distance of its centre, in sides of the face."""
_SAME_PLACE, _SAME_SIZE, _SAME_S, _AHEAD_S = 0.75, 1.8, 5.0, 1.0
"""A new track continues one that was not detected for at most ``_SAME_S`` if it begins within ``_SAME_PLACE`` sides of
the way that the face would have gone in at most ``_AHEAD_S``, and is as large."""
_NEAR = 4.0
"""Two faces that are nearer to each other than this, in sides of the face, may be exchanged by the tracker."""


@dataclass(slots=True)
class _Face:
    """Where a face was seen last, in px. ``sides``: on which side of each line it surely was last: 1 inside, -1
    outside; ``between``: whether it last went over each line between its ends; ``waiting``: its crossings, until it is
    confirmed."""

    x: float
    y: float
    size: float
    velocity: tuple[float, float]
    seen_s: float
    sides: dict[LineSettings, int] = field(default_factory=dict)
    between: dict[LineSettings, bool] = field(default_factory=dict)
    waiting: list[Crossing] = field(default_factory=list)


class LineCounter:
    """The lines of one camera. Each face counts at each passage, also who comes back."""

    def __init__(self) -> None:
        self._faces: dict[int, _Face] = {}
        self._apart: dict[tuple[int, int], tuple[Track, Track]] = {}  # when two near faces were last seen side by side
        self._frame_px = (0, 0)

    def update(
        self, time_s: float, frame_px: tuple[int, int], lines: Sequence[LineSettings], tracks: Sequence[Track]
    ) -> tuple[Crossing, ...]:
        """Who passed a line in the frame at ``time_s``, of the size ``frame_px`` (width, height). ``tracks``: the faces
        detected in it, also those not yet confirmed: they count once they are."""
        if frame_px != self._frame_px:  # the resolution has changed
            self._frame_px, self._faces, self._apart = frame_px, {}, {}
        self._faces = {id_: face for id_, face in self._faces.items() if time_s - face.seen_s <= _SAME_S}
        self._undo_exchanges(time_s, tracks)
        seen = {track.id for track in tracks}
        crossings: list[Crossing] = []
        for track in tracks:
            face = self._faces.pop(track.id, None) or self._continued(track, time_s, seen)
            face = _moved(face, track, time_s, lines, frame_px)
            self._faces[track.id] = face
            if track.confirmed:
                crossings += face.waiting
                face.waiting = []
        return tuple(crossings)

    def _undo_exchanges(self, time_s: float, tracks: Sequence[Track]) -> None:
        """Exchanges the faces of two tracks if each has come to where the other was going since they were last seen
        side by side: one has hidden the other, and the tracker has mistaken them."""
        apart = {pair: seen for pair, seen in self._apart.items() if time_s - seen[0].seen_s <= _AHEAD_S}
        for one, other in combinations(sorted(tracks, key=lambda track: track.id), 2):
            here, there, side = one.box.center, other.box.center, max(one.box.size, other.box.size)
            if not side < math.dist(here, there) < _NEAR * side:
                continue
            pair = one.id, other.id
            if pair in apart and pair[0] in self._faces and pair[1] in self._faces:
                goals = [track.box_at(time_s, _AHEAD_S).center for track in apart[pair]]
                kept = math.dist(goals[0], here) + math.dist(goals[1], there)
                exchanged = math.dist(goals[0], there) + math.dist(goals[1], here)
                if kept > side and exchanged < kept / 2:
                    self._faces[one.id], self._faces[other.id] = self._faces[other.id], self._faces[one.id]
            apart[pair] = one, other
        self._apart = apart

    def _continued(self, track: Track, time_s: float, seen: set[int]) -> _Face | None:
        """The face that was not detected in this frame and that the new ``track`` continues: the nearest one."""
        x, y = track.box.center
        near: list[tuple[float, int]] = []
        for id_, face in self._faces.items():
            ratio = max(face.size, 1.0) / max(track.box.size, 1.0)
            if id_ not in seen and 1 / _SAME_SIZE < ratio < _SAME_SIZE:
                ahead_s = min(time_s - face.seen_s, _AHEAD_S)
                way = face.velocity[0] * ahead_s, face.velocity[1] * ahead_s
                distance = _distance(x - face.x, y - face.y, way) / max(face.size, track.box.size, 1.0)
                if distance <= _SAME_PLACE:
                    near.append((distance, id_))
        return self._faces.pop(min(near)[1]) if near else None


def _distance(x: float, y: float, way: tuple[float, float]) -> float:
    """The distance of (x, y) from the straight ``way`` that begins at (0, 0)."""
    length = way[0] ** 2 + way[1] ** 2
    share = min(max((x * way[0] + y * way[1]) / length, 0.0), 1.0) if length else 0.0
    return math.hypot(x - share * way[0], y - share * way[1])


def _moved(
    before: _Face | None, track: Track, time_s: float, lines: Sequence[LineSettings], frame_px: tuple[int, int]
) -> _Face:
    """The face after it was seen as ``track``."""
    (x, y), size = track.box.center, track.box.size
    face = _Face(x, y, size, track.velocity, time_s)
    if before is not None:
        face.sides, face.between, face.waiting = before.sides, before.between, before.waiting
    for line in lines:
        (ax, ay), (bx, by) = ((px * frame_px[0], py * frame_px[1]) for px, py in line.points)
        length = math.hypot(bx - ax, by - ay)
        unit_x, unit_y = (bx - ax) / length, (by - ay) / length

        def beside(x: float, y: float) -> float:
            """The distance from the line, px: above 0 on its right, which is inside."""
            return unit_x * (y - ay) - unit_y * (x - ax)  # noqa: B023 - called at once

        off = beside(x, y)
        if before is not None and (off > 0) != ((old := beside(before.x, before.y)) > 0):
            share = old / (old - off)
            over_x, over_y = before.x + share * (x - before.x), before.y + share * (y - before.y)
            face.between[line] = 0 <= unit_x * (over_x - ax) + unit_y * (over_y - ay) <= length
        if abs(off) > _SURE * size:
            side = 1 if off > 0 else -1
            if face.sides.get(line, side) != side and face.between.get(line):
                face.waiting.append(Crossing(line.name, side > 0))
            face.sides[line] = side
    return face

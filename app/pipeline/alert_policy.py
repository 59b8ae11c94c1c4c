"""The alert policy: a pure state machine over the tracks of one camera.

Watched -> (bare for the dwell time, large enough, in a region, in the schedule, no cooldown) -> alerted -> (mask on, or
left) -> resolved. A track alerts at most once and ``unsure`` never alerts. Only a raised alert starts a cooldown; if
nobody was notified of it, the cooldown is refunded. One alert may report a whole group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from app.core.schedule import is_open, parse_hours
from app.core.types import Event, EventKind, Frame, Label, Track
from app.settings.monitor import PolicySettings

LONGEST_STEP_S = 60.0
"""A face that is bare in two consecutive frames counts as bare in between, if their distance is at most this."""


@dataclass(frozen=True, slots=True)
class DwellState:
    """The state of one track. Times are stream times; ``None`` means that the condition does not hold."""

    bare_since_s: float | None = None
    bare_seen_s: float | None = None
    good_since_s: float | None = None
    alert_id: str = ""
    alerted_s: float = 0.0
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy's state of one camera. ``frame_s`` is the stream time of the last analysed frame."""

    dwells: Mapping[int, DwellState] = field(default_factory=lambda: MappingProxyType({}))
    last_alert_s: float | None = None
    serial: int = 0
    frame_s: float | None = None


def step(
    settings: PolicySettings,
    run_id: str,
    state: PolicyState,
    frame: Frame,
    tracks: Sequence[Track],
    left: Sequence[Track] = (),
) -> tuple[PolicyState, tuple[Event, ...]]:
    """Returns the next state and the events of one analysed frame; depends only on its arguments.

    ``tracks``: those in the frame. ``left``: those that the tracker has just dropped. ``run_id`` makes event ids
    unique over runs.
    """
    dwells = dict(state.dwells)
    last_alert_s, serial = state.last_alert_s, state.serial
    events: list[Event] = []

    def event(kind: EventKind, track: Track, duration_s: float, **more: Any) -> Event:
        nonlocal serial
        serial += 1
        raised = Event(
            id=f"{run_id}-{frame.camera}-{serial}",
            kind=kind,
            camera=frame.camera,
            time_s=frame.time_s,
            wall_s=frame.wall_s,
            track_id=track.id,
            confidence=track.label.confidence,
            duration_s=duration_s,
            box=track.box,
            **more,
        )
        events.append(raised)
        return raised

    def resolve(track: Track, dwell: DwellState, reason: str) -> None:
        """Resolves the alert of ``dwell`` once the last of its people wears a mask or has left."""
        others = (other for id_, other in dwells.items() if id_ != track.id and other.alert_id == dwell.alert_id)
        if settings.resolved_events and all(other.resolved for other in others):
            lasted_s = frame.time_s - dwell.alerted_s
            event(EventKind.RESOLVED, track, lasted_s, reason=reason, resolves=dwell.alert_id)

    ready: list[Track] = []
    for track in tracks:
        if track.seen_s != frame.time_s:  # only predicted, not detected in this frame
            continue
        dwell = _observed(settings, dwells.get(track.id, DwellState()), track, frame, state.frame_s)
        if dwell.alert_id:
            good_s = 0.0 if dwell.good_since_s is None else frame.time_s - dwell.good_since_s
            if not dwell.resolved and dwell.good_since_s is not None and good_s >= settings.resolve_after_s:
                dwell = replace(dwell, resolved=True)
                resolve(track, dwell, track.label.label)
        elif _is_ready(settings, dwell, track, frame):
            ready.append(track)
        dwells[track.id] = dwell
    for track in left:
        gone = dwells.pop(track.id, None)
        if gone and gone.alert_id and not gone.resolved:
            resolve(track, gone, "left")
    for people in _groups(settings, ready):
        if last_alert_s is not None and frame.time_s - last_alert_s < settings.cooldown_s:
            break
        if not may_alert_now(settings, frame.wall_s):
            break
        first = people[0]
        bare_s = max(_bare_s(dwells[track.id], frame.time_s) for track in people)
        raised = event(EventKind(first.label.label.value), first, bare_s, people=len(people))
        last_alert_s = frame.time_s
        for track in people:
            dwells[track.id] = replace(dwells[track.id], alert_id=raised.id, alerted_s=frame.time_s)
    return PolicyState(MappingProxyType(dwells), last_alert_s, serial, frame.time_s), tuple(events)


def open_alerts(state: PolicyState) -> frozenset[str]:
    """Ids of the alerts with at least one person who is still present without a mask."""
    return frozenset(dwell.alert_id for dwell in state.dwells.values() if dwell.alert_id and not dwell.resolved)


def with_refunded_cooldown(state: PolicyState) -> PolicyState:
    """Returns ``state`` without a cooldown, because nobody was notified of its last alert.

    That alert was raised after the previous cooldown had ended, so no other cooldown applies.
    """
    return replace(state, last_alert_s=None)


def _groups(settings: PolicySettings, ready: Sequence[Track]) -> list[list[Track]]:
    """Groups tracks by alert: one each, or all in one above ``digest_over``, the largest bare face first."""
    if settings.digest_over and len(ready) > settings.digest_over:
        return [sorted(ready, key=lambda track: (track.label.label is not Label.NO_MASK, -track.box.area))]
    return [[track] for track in ready]


def may_alert_now(settings: PolicySettings, wall_s: float) -> bool:
    """Whether local time ``wall_s`` (Unix seconds) lies in the schedule and outside the quiet hours."""
    quiet = [parse_hours(line) for line in settings.quiet_hours]
    scheduled = [parse_hours(line) for line in settings.schedule]
    return is_open(scheduled, wall_s) and not (quiet and is_open(quiet, wall_s))


def in_regions(regions: Sequence[Sequence[tuple[float, float]]], x: float, y: float) -> bool:
    """Whether (x, y) lies in any of the polygons, or there is no polygon. Even-odd rule (Shimrat 1962)."""
    return not regions or any(_in_polygon(polygon, x, y) for polygon in regions)


def _in_polygon(polygon: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    inside = False
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside


def _bare_s(dwell: DwellState, time_s: float) -> float:
    return 0.0 if dwell.bare_since_s is None else time_s - dwell.bare_since_s


def _observed(
    settings: PolicySettings, dwell: DwellState, track: Track, frame: Frame, previous_frame_s: float | None
) -> DwellState:
    """Returns ``dwell`` updated by ``track``. A bare face outside the regions changes nothing, like an unsure one.

    ``previous_frame_s``: stream time of the previous analysed frame.
    """
    label, time_s = track.label.label, frame.time_s
    if label.value in settings.alert_on:
        if not _is_inside(settings, track, frame):
            return dwell
        since_s, seen_s = dwell.bare_since_s, dwell.bare_seen_s
        max_step_s = LONGEST_STEP_S if seen_s == previous_frame_s else settings.grace_s
        if since_s is None or seen_s is None or time_s - seen_s > max_step_s:
            since_s = time_s
        return replace(dwell, bare_since_s=since_s, bare_seen_s=time_s, good_since_s=None)
    if label is Label.UNSURE:
        return dwell
    since_s = time_s if dwell.good_since_s is None else dwell.good_since_s
    return replace(dwell, bare_since_s=None, bare_seen_s=None, good_since_s=since_s)


def _is_inside(settings: PolicySettings, track: Track, frame: Frame) -> bool:
    if not settings.regions:
        return True
    height_px, width_px = frame.image.shape[:2]
    x, y = track.box.center
    return in_regions(settings.regions, x / width_px, y / height_px)


def _is_ready(settings: PolicySettings, dwell: DwellState, track: Track, frame: Frame) -> bool:
    """Whether the face meets all conditions for an alert, except cooldown and schedule."""
    return (
        track.label.label.value in settings.alert_on
        and dwell.bare_seen_s == frame.time_s
        and dwell.bare_since_s is not None
        and frame.time_s - dwell.bare_since_s >= settings.dwell_s
        and track.observations >= settings.min_observations
        and track.box.size >= settings.min_face_px
        and track.label.confidence >= settings.min_confidence
    )

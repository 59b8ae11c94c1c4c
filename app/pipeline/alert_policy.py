"""When a face is worth an alert: a pure state machine over the tracks of one camera.

Watching -> (bare long, often and large enough, in a region, in hours, no cooldown) -> alerted -> (mask on, or left)
-> resolved. A track alerts once at most, ``unsure`` never alerts, and a cooldown is charged only by an alert that is
really raised, and given back where nobody was told of it. A crowd may be told of in one alert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from app.core.schedule import is_open, parse_hours
from app.core.types import Event, EventKind, Frame, Label, Track
from app.settings.monitor import PolicySettings

LONGEST_STEP_S = 60.0
"""A face that is bare in two frames of which one follows the other was so in between, unless they lie farther apart."""


@dataclass(frozen=True, slots=True)
class DwellState:
    """What is remembered of one track. Times are stream times; ``None`` where it is not the case."""

    bare_since_s: float | None = None
    bare_seen_s: float | None = None
    good_since_s: float | None = None
    alert_id: str = ""
    alerted_s: float = 0.0
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class PolicyState:
    """All that the policy remembers of one camera. ``frame_s`` is the time of the last analysed frame."""

    watches: Mapping[int, DwellState] = field(default_factory=lambda: MappingProxyType({}))
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
    """The next state and the events of one analysed frame.

    ``tracks`` are those shown now, ``left`` those that the tracker just gave up. ``run_id`` makes event ids unique
    over runs; everything else of the result depends on the arguments alone.
    """
    watches = dict(state.watches)
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

    def resolve(track: Track, watch: DwellState, reason: str) -> None:
        """Tell the end of the alert that ``watch`` had part in, once the last of its people is well or gone."""
        others = (w for id_, w in watches.items() if id_ != track.id and w.alert_id == watch.alert_id)
        if settings.resolved_events and all(other.resolved for other in others):
            lasted_s = frame.time_s - watch.alerted_s
            event(EventKind.RESOLVED, track, lasted_s, reason=reason, resolves=watch.alert_id)

    ready: list[Track] = []
    for track in tracks:
        if track.seen_s != frame.time_s:  # carried on by prediction only: nothing new is known of it
            continue
        watch = _observed(settings, watches.get(track.id, DwellState()), track, frame, state.frame_s)
        if watch.alert_id:
            good_s = 0.0 if watch.good_since_s is None else frame.time_s - watch.good_since_s
            if not watch.resolved and watch.good_since_s is not None and good_s >= settings.resolve_after_s:
                watch = replace(watch, resolved=True)
                resolve(track, watch, track.label.label)
        elif _is_ready(settings, watch, track, frame):
            ready.append(track)
        watches[track.id] = watch
    for track in left:
        gone = watches.pop(track.id, None)
        if gone and gone.alert_id and not gone.resolved:
            resolve(track, gone, "left")
    for people in _groups(settings, ready):
        if last_alert_s is not None and frame.time_s - last_alert_s < settings.cooldown_s:
            break
        if not may_alert_now(settings, frame.wall_s):
            break
        first = people[0]
        bare_s = max(_bare_s(watches[track.id], frame.time_s) for track in people)
        raised = event(EventKind(first.label.label.value), first, bare_s, people=len(people))
        last_alert_s = frame.time_s
        for track in people:
            watches[track.id] = replace(watches[track.id], alert_id=raised.id, alerted_s=frame.time_s)
    return PolicyState(MappingProxyType(watches), last_alert_s, serial, frame.time_s), tuple(events)


def open_alerts(state: PolicyState) -> frozenset[str]:
    """Ids of the alerts of which someone is still there and not well."""
    return frozenset(watch.alert_id for watch in state.watches.values() if watch.alert_id and not watch.resolved)


def with_refunded_cooldown(state: PolicyState) -> PolicyState:
    """``state`` without the cooldown of its last alert, of which nobody was told. That alert was raised because the
    cooldown before it had ended, so none is left."""
    return replace(state, last_alert_s=None)


def _groups(settings: PolicySettings, ready: Sequence[Track]) -> list[list[Track]]:
    """Who is told of in one alert: each face by itself, or all in one where they are a crowd, a bare one first."""
    if settings.digest_over and len(ready) > settings.digest_over:
        return [sorted(ready, key=lambda track: (track.label.label is not Label.NO_MASK, -track.box.area))]
    return [[track] for track in ready]


def may_alert_now(settings: PolicySettings, wall_s: float) -> bool:
    """Whether local time ``wall_s`` (Unix seconds) lies in the schedule and outside the quiet hours."""
    quiet = [parse_hours(line) for line in settings.quiet_hours]
    scheduled = [parse_hours(line) for line in settings.schedule]
    return is_open(scheduled, wall_s) and not (quiet and is_open(quiet, wall_s))


def in_regions(regions: Sequence[Sequence[tuple[float, float]]], x: float, y: float) -> bool:
    """Whether (x, y) lies in any of the polygons; True where there are none. Even-odd rule (Shimrat 1962)."""
    return not regions or any(_in_polygon(polygon, x, y) for polygon in regions)


def _in_polygon(polygon: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    inside = False
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside


def _bare_s(watch: DwellState, time_s: float) -> float:
    return 0.0 if watch.bare_since_s is None else time_s - watch.bare_since_s


def _observed(
    settings: PolicySettings, watch: DwellState, track: Track, frame: Frame, before_s: float | None
) -> DwellState:
    """``watch`` after seeing ``track``: how long it has been bare, how long it has been well. A bare face outside the
    regions is as little known as an unsure one. ``before_s`` is the time of the frame before."""
    label, time_s = track.label.label, frame.time_s
    if label.value in settings.alert_on:
        if not _is_inside(settings, track, frame):
            return watch
        since, seen_s = watch.bare_since_s, watch.bare_seen_s
        longest_s = LONGEST_STEP_S if seen_s == before_s else settings.grace_s
        if since is None or seen_s is None or time_s - seen_s > longest_s:
            since = time_s
        return replace(watch, bare_since_s=since, bare_seen_s=time_s, good_since_s=None)
    if label is Label.UNSURE:
        return watch
    since = time_s if watch.good_since_s is None else watch.good_since_s
    return replace(watch, bare_since_s=None, bare_seen_s=None, good_since_s=since)


def _is_inside(settings: PolicySettings, track: Track, frame: Frame) -> bool:
    if not settings.regions:
        return True
    height_px, width_px = frame.image.shape[:2]
    x, y = track.box.center
    return in_regions(settings.regions, x / width_px, y / height_px)


def _is_ready(settings: PolicySettings, watch: DwellState, track: Track, frame: Frame) -> bool:
    """Whether the face itself is worth an alert now; cooldown and hours are asked afterwards."""
    return (
        track.label.label.value in settings.alert_on
        and watch.bare_seen_s == frame.time_s
        and watch.bare_since_s is not None
        and frame.time_s - watch.bare_since_s >= settings.dwell_s
        and track.observations >= settings.min_observations
        and track.box.size >= settings.min_face_px
        and track.label.confidence >= settings.min_confidence
    )

"""The alert policy: a pure state machine over the tracks of one camera.

Watched -> (bare for the dwell time with enough evidence, large enough, in a region, in the schedule, no cooldown) ->
alerted -> (mask on, or left) -> resolved. A track has at most one open alert; bare again after it, it alerts again.
``unsure`` is no evidence and never alerts. An alert starts a cooldown, unless the camera is muted: then nobody is
notified. One alert may report a whole group.

Evidence is the sum of the log-odds of the label over inferences that are far enough apart to count as independent, as
in a sequential probability ratio test (Wald 1945).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from app.core.schedule import is_open, parse_hours
from app.core.types import Event, EventKind, Frame, Label, Track
from app.pipeline import dwell
from app.pipeline.dwell import Dwell
from app.pipeline.event_factory import EventFactory
from app.settings.monitor import PolicySettings

_APART_S = 0.5
"""Inferences that are closer in time show the same pose and count once."""
_MOST_CERTAIN = 0.95
"""A single inference is never trusted more than this."""


@dataclass(frozen=True, slots=True)
class TrackState:
    """The state of one track. ``evidence``: log-odds for bare since ``bare`` began; ``evidence_s``: time of its last
    inference. ``good_since_s``: stream time since when it is neither bare nor unsure. ``alert``: its open alert."""

    bare: Dwell | None = None
    evidence: float = 0.0
    evidence_s: float = -math.inf
    good_since_s: float | None = None
    alert: Event | None = None


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The policy's state of one camera. ``frame_s`` is the stream time of the last analysed frame."""

    tracks: Mapping[int, TrackState] = field(default_factory=lambda: MappingProxyType({}))
    last_alert_s: float | None = None
    frame_s: float | None = None

    @property
    def open_alerts(self) -> tuple[Event, ...]:
        """The alerts with at least one person who is still present without a mask, oldest first."""
        alerts = {state.alert.id: state.alert for state in self.tracks.values() if state.alert}
        return tuple(sorted(alerts.values(), key=lambda alert: alert.time_s))


def step(
    settings: PolicySettings,
    events: EventFactory,
    state: PolicyState,
    frame: Frame,
    tracks: Sequence[Track],
    left: Sequence[Track] = (),
    muted: bool = False,
) -> tuple[PolicyState, tuple[Event, ...]]:
    """Returns the next state and the events of one analysed frame; depends only on its arguments.

    ``tracks``: those in the frame. ``left``: those that the tracker has just dropped, or rejects as not a face.
    """
    seen = [track for track in tracks if track.seen_s == frame.time_s]  # the others are only predicted
    states = dict(state.tracks)
    for track in seen:
        states[track.id] = _observe(settings, states.get(track.id, TrackState()), track, frame, state.frame_s)
    resolved = _resolve(settings, events, states, frame, seen, left)
    ready = [track for track in seen if _is_ready(settings, states[track.id], track, frame)]
    alerts = _raise(settings, events, states, frame, ready, state.last_alert_s)
    last_alert_s = frame.time_s if alerts and not muted else state.last_alert_s
    next_state = PolicyState(MappingProxyType(states), last_alert_s, frame.time_s)
    return next_state, (*(resolved if settings.resolved_events else ()), *alerts)


def waiting(settings: PolicySettings, state: PolicyState, tracks: Sequence[Track], wall_s: float) -> dict[int, float]:
    """The share of the dwell time (0 to 1) that has passed, by track, for those that are bare and may alert."""
    if not may_alert_now(settings, wall_s):
        return {}
    shares = {}
    for track in tracks:
        own = state.tracks.get(track.id, TrackState())
        if own.bare is None or own.alert is not None or track.box.size < settings.min_face_px:
            continue
        if state.frame_s is None or state.frame_s - own.bare.seen_s <= settings.grace_s:
            shares[track.id] = min(1.0, own.bare.lasted_s / settings.dwell_s) if settings.dwell_s else 1.0
    return shares


def _observe(
    settings: PolicySettings, state: TrackState, track: Track, frame: Frame, previous_frame_s: float | None
) -> TrackState:
    """Returns ``state`` updated by ``track``. A bare face outside the regions changes nothing, like an unsure one."""
    label = track.label.label
    if label.value in settings.alert_on:
        if not _is_inside(settings, track, frame):
            return state
        bare = dwell.observe(state.bare, frame.time_s, previous_frame_s, settings.grace_s)
        if bare.since_s == frame.time_s:
            state = replace(state, evidence=0.0, evidence_s=-math.inf)
        if track.latest_s - state.evidence_s >= _APART_S:
            share = sum(track.latest.get(Label(name), 0.0) for name in settings.alert_on)
            state = replace(state, evidence=state.evidence + _log_odds(share), evidence_s=track.latest_s)
        return replace(state, bare=bare, good_since_s=None)
    if label is Label.UNSURE:
        return state
    return replace(state, bare=None, good_since_s=frame.time_s if state.good_since_s is None else state.good_since_s)


def _resolve(
    settings: PolicySettings,
    events: EventFactory,
    states: dict[int, TrackState],
    frame: Frame,
    seen: Sequence[Track],
    left: Sequence[Track],
) -> list[Event]:
    """Marks who wears a mask now and removes who left. Returns an event for each alert that this ends."""
    resolved: list[Event] = []

    def end(alert: Event, track: Track, reason: str) -> None:
        if all(state.alert is None or state.alert.id != alert.id for state in states.values()):
            resolved.append(events.resolved(alert, track, frame, reason))

    for track in seen:
        state = states[track.id]
        good_s = 0.0 if state.good_since_s is None else frame.time_s - state.good_since_s
        if state.alert and state.good_since_s is not None and good_s >= settings.resolve_after_s:
            states[track.id] = replace(state, alert=None)
            end(state.alert, track, track.label.label)
    for track in left:
        gone = states.pop(track.id, None)
        if gone and gone.alert:
            end(gone.alert, track, "left")
    return resolved


def _raise(
    settings: PolicySettings,
    events: EventFactory,
    states: dict[int, TrackState],
    frame: Frame,
    ready: Sequence[Track],
    last_alert_s: float | None,
) -> list[Event]:
    """Raises the alerts of ``ready`` that cooldown and schedule allow."""
    if not ready or not may_alert_now(settings, frame.wall_s):
        return []
    alerts: list[Event] = []
    for people in _groups(settings, ready):
        if last_alert_s is not None and frame.time_s - last_alert_s < settings.cooldown_s:
            break
        first, last_alert_s = people[0], frame.time_s
        bare_s = max(state.bare.lasted_s for track in people if (state := states[track.id]).bare)
        alert = events.alert(EventKind(first.label.label.value), first, frame, bare_s, len(people))
        states.update({track.id: replace(states[track.id], alert=alert) for track in people})
        alerts.append(alert)
    return alerts


def _groups(settings: PolicySettings, ready: Sequence[Track]) -> list[list[Track]]:
    """Groups tracks by alert: one each, or all in one above ``digest_over``, the largest bare face first."""
    if settings.digest_over and len(ready) > settings.digest_over:
        return [sorted(ready, key=lambda track: (track.label.label is not Label.NO_MASK, -track.box.area))]
    return [[track] for track in ready]


def may_alert_now(settings: PolicySettings, wall_s: float) -> bool:
    """Whether local time ``wall_s`` (Unix seconds) lies in the schedule and outside the quiet hours."""
    quiet = [parse_hours(line) for line in settings.quiet_hours]
    scheduled = [parse_hours(line) for line in settings.schedule]
    return is_open(scheduled, wall_s, settings.timezone) and not (quiet and is_open(quiet, wall_s, settings.timezone))


def in_regions(regions: Collection[Sequence[tuple[float, float]]], x: float, y: float) -> bool:
    """Whether (x, y) lies in any of the polygons, or there is no polygon. Even-odd rule (Shimrat 1962)."""
    return not regions or any(_in_polygon(polygon, x, y) for polygon in regions)


def _in_polygon(polygon: Sequence[tuple[float, float]], x: float, y: float) -> bool:
    inside = False
    for (ax, ay), (bx, by) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside


def _is_inside(settings: PolicySettings, track: Track, frame: Frame) -> bool:
    if not settings.regions:
        return True
    height_px, width_px = frame.image.shape[:2]
    x, y = track.box.center
    return in_regions(settings.regions, x / width_px, y / height_px)


def _is_ready(settings: PolicySettings, state: TrackState, track: Track, frame: Frame) -> bool:
    """Whether the face meets all conditions for an alert, except cooldown and schedule."""
    return (
        state.alert is None
        and track.label.label.value in settings.alert_on
        and state.bare is not None
        and state.bare.seen_s == frame.time_s
        and state.bare.lasted_s >= settings.dwell_s
        and track.observations >= settings.min_observations
        and track.box.size >= settings.min_face_px
        and track.label.confidence >= settings.min_label_confidence
        and state.evidence >= _log_odds(settings.min_confidence, 1 - 1e-6)
    )


def _log_odds(share: float, most: float = _MOST_CERTAIN) -> float:
    """The log-odds of a probability, which is limited to 1 - ``most`` ... ``most``."""
    share = min(max(share, 1 - most), most)
    return math.log(share / (1 - share))

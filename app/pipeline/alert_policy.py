"""The alert policy: a pure state machine over the tracks of one camera.

Watched -> (bare for the dwell time with enough evidence, large enough, in a region, in the schedule, no cooldown) ->
alerted -> (mask on, or left) -> resolved. A track has at most one open alert; bare again after it, it alerts again.
In a zone the rules of the zone apply, and the face must be bare there; the first zone that contains the face counts.
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
from app.settings.monitor import CameraPolicy, PolicySettings

_APART_S = 0.5
"""Inferences that are closer in time show the same pose and count once."""
_MOST_CERTAIN = 0.95
"""A single inference is never trusted more than this."""


@dataclass(frozen=True, slots=True)
class Bare:
    """A period in which a face is bare. ``evidence``: log-odds for it; ``evidence_s``: time of its last inference."""

    dwell: Dwell
    evidence: float = 0.0
    evidence_s: float = -math.inf


@dataclass(frozen=True, slots=True)
class TrackState:
    """The state of one track. ``bare``: its periods by zone; '' is outside of all zones. ``good_since_s``: stream time
    since when it is neither bare nor unsure. ``alert``: its open alert."""

    bare: Mapping[str, Bare] = field(default_factory=lambda: MappingProxyType({}))
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
    states, ready = dict(state.tracks), dict[str, list[Track]]()
    for track in seen:
        states[track.id] = _observe(settings, states.get(track.id, TrackState()), track, frame, state.frame_s)
    resolved = _resolve(settings, events, states, frame, seen, left)
    for track in seen:
        zone, rules = _zone_of(settings, track, frame)
        if zone is not None and _is_ready(rules, states[track.id], zone, track, frame):
            ready.setdefault(zone, []).append(track)
    alerts = _raise(settings, events, states, frame, ready, state.last_alert_s)
    last_alert_s = frame.time_s if alerts and not muted else state.last_alert_s
    next_state = PolicyState(MappingProxyType(states), last_alert_s, frame.time_s)
    return next_state, (*(resolved if settings.resolved_events else ()), *alerts)


def waiting(settings: PolicySettings, state: PolicyState, tracks: Sequence[Track], wall_s: float) -> dict[int, float]:
    """The share of the dwell time (0 to 1) that has passed, by track, for those that are bare and may alert."""
    places = [(zone, rules) for zone, rules in _places(settings) if _is_open(rules, wall_s)]
    shares: dict[int, float] = {}
    for track in tracks:
        own = state.tracks.get(track.id, TrackState())
        if own.alert is not None or track.box.size < settings.min_face_px:
            continue
        for zone, rules in places:
            dwelt = own.bare[zone].dwell if zone in own.bare else None
            if dwelt and (state.frame_s is None or state.frame_s - dwelt.seen_s <= rules.grace_s):
                share = min(1.0, dwelt.lasted_s / rules.dwell_s) if rules.dwell_s else 1.0
                shares[track.id] = max(share, shares.get(track.id, 0.0))
    return shares


def _observe(
    settings: PolicySettings, state: TrackState, track: Track, frame: Frame, previous_frame_s: float | None
) -> TrackState:
    """``state`` updated by ``track``. A bare face where it does not alert changes nothing, like an unsure one."""
    zone, rules = _zone_of(settings, track, frame)
    label = track.label.label
    if zone is not None and label.value in rules.alert_on:
        old = state.bare.get(zone)
        dwelt = dwell.observe(None if old is None else old.dwell, frame.time_s, previous_frame_s, rules.grace_s)
        bare = Bare(dwelt) if old is None or dwelt.since_s == frame.time_s else replace(old, dwell=dwelt)
        if track.latest_s - bare.evidence_s >= _APART_S:
            share = sum(track.latest.get(Label(name), 0.0) for name in rules.alert_on)
            bare = replace(bare, evidence=bare.evidence + _log_odds(share), evidence_s=track.latest_s)
        return replace(state, bare=MappingProxyType({**state.bare, zone: bare}), good_since_s=None)
    if label is Label.UNSURE or any(label.value in each.alert_on for _, each in _places(settings)):
        return state
    good_since_s = frame.time_s if state.good_since_s is None else state.good_since_s
    return replace(state, bare=MappingProxyType({}), good_since_s=good_since_s)


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
    ready: Mapping[str, Sequence[Track]],
    last_alert_s: float | None,
) -> list[Event]:
    """Raises the alerts of those who are ``ready``, by zone, that cooldown and schedule allow."""
    alerts: list[Event] = []
    for zone, rules in _places(settings):
        if zone not in ready or not _is_open(rules, frame.wall_s):
            continue
        for people in _groups(settings, ready[zone]):
            if last_alert_s is not None and frame.time_s - last_alert_s < settings.cooldown_s:
                return alerts
            first, last_alert_s = people[0], frame.time_s
            bare_s = max(states[track.id].bare[zone].dwell.lasted_s for track in people)
            alert = events.alert(EventKind(first.label.label.value), first, frame, bare_s, len(people), zone)
            states.update({track.id: replace(states[track.id], alert=alert) for track in people})
            alerts.append(alert)
    return alerts


def _groups(settings: PolicySettings, ready: Sequence[Track]) -> list[list[Track]]:
    """Groups tracks by alert: one each, or all in one above ``digest_over``, the largest bare face first."""
    if settings.digest_over and len(ready) > settings.digest_over:
        return [sorted(ready, key=lambda track: (track.label.label is not Label.NO_MASK, -track.box.area))]
    return [[track] for track in ready]


def may_alert_now(settings: PolicySettings, wall_s: float) -> bool:
    """Whether a face may alert anywhere at local time ``wall_s`` (Unix seconds)."""
    return any(_is_open(rules, wall_s) for _, rules in _places(settings))


def _is_open(settings: PolicySettings, wall_s: float) -> bool:
    """Whether local time ``wall_s`` lies in the schedule and outside the quiet hours."""
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


def _places(settings: PolicySettings) -> list[tuple[str, PolicySettings]]:
    """Where faces alert, by name, with the rules there: the zones, and with the name '' the regions of the camera, or
    without zones and regions the whole picture."""
    zones = settings.zones if isinstance(settings, CameraPolicy) else ()
    return [*zones, *([("", settings)] if settings.regions or not zones else [])]


def _zone_of(settings: PolicySettings, track: Track, frame: Frame) -> tuple[str | None, PolicySettings]:
    """The first place with the centre of the face, and its rules; None, and those of the camera, if there is none."""
    height_px, width_px = frame.image.shape[:2]
    x, y = track.box.center
    for zone, rules in _places(settings):
        if in_regions(rules.regions, x / width_px, y / height_px):
            return zone, rules
    return None, settings


def _is_ready(settings: PolicySettings, state: TrackState, zone: str, track: Track, frame: Frame) -> bool:
    """Whether the face, now in ``zone``, meets all conditions for an alert, except cooldown and schedule."""
    bare = state.bare.get(zone)
    return (
        state.alert is None
        and track.label.label.value in settings.alert_on
        and bare is not None
        and bare.dwell.seen_s == frame.time_s
        and bare.dwell.lasted_s >= settings.dwell_s
        and track.observations >= settings.min_observations
        and track.box.size >= settings.min_face_px
        and track.label.confidence >= settings.min_label_confidence
        and bare.evidence >= _log_odds(settings.min_confidence, 1 - 1e-6)
    )


def _log_odds(share: float, most: float = _MOST_CERTAIN) -> float:
    """The log-odds of a probability, which is limited to 1 - ``most`` ... ``most``."""
    share = min(max(share, 1 - most), most)
    return math.log(share / (1 - share))

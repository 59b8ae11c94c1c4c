"""Counts the people of a camera by label, and keeps its unresolved alerts."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.core.types import Counts, Event, EventKind, Label, Track
from app.pipeline.alert_policy import LONGEST_STEP_S

_WORST_FIRST = (Label.NO_MASK, Label.INCORRECT)


@dataclass(frozen=True, slots=True)
class _Person:
    """The state of one track. ``fixed`` is the label that it keeps in the counts, whatever follows.

    ``bare_since_s`` and ``bare_seen_s``: stream times of the start and end of its last period bare or incorrect.
    """

    last: Label
    fixed: Label | None = None
    bare_since_s: float | None = None
    bare_seen_s: float = 0.0

    @property
    def counts_as(self) -> Label:
        return self.fixed or self.last


class PeopleCounter:
    """Counts one person per track, by the last label other than unsure.

    A person who was bare or wore the mask wrong for the dwell time keeps that label in the counts. Tracks that were
    always unsure do not count.
    """

    def __init__(self) -> None:
        self._present: dict[int, _Person] = {}
        self._gone: Counter[Label] = Counter()
        self._bare_ids: set[int] = set()

    def update(self, tracks: Sequence[Track], left: Sequence[Track], dwell_s: float, grace_s: float) -> Counts:
        """``dwell_s`` and ``grace_s`` as in the policy, but for every label and outside the regions too."""
        for track in tracks:
            if track.label.label is not Label.UNSURE:
                max_step_s = LONGEST_STEP_S if track.id in self._bare_ids else grace_s
                self._present[track.id] = _observed(self._present.get(track.id), track, dwell_s, max_step_s)
        self._bare_ids = {track.id for track in tracks if track.label.label in _WORST_FIRST}
        leaving = Counter(self._present.pop(track.id).counts_as for track in left if track.id in self._present)
        self._gone += leaving
        here = Counter(person.counts_as for person in self._present.values())
        now = Counter(track.label.label for track in tracks)
        return Counts(_read_only(now), _read_only(self._gone + here), _read_only(leaving), _read_only(here))


def _observed(person: _Person | None, track: Track, dwell_s: float, max_step_s: float) -> _Person:
    """Returns ``person`` updated by ``track``. A bare period ends after ``max_step_s`` without an observation of it."""
    label, seen_s = track.label.label, track.seen_s
    person = _Person(label) if person is None else replace(person, last=label)
    if label is Label.MASK:
        return replace(person, bare_since_s=None)
    since_s = person.bare_since_s
    if since_s is None or seen_s - person.bare_seen_s > max_step_s:
        since_s = seen_s
    if seen_s - since_s >= dwell_s:
        worst = next(each for each in _WORST_FIRST if each in (label, person.fixed))
        person = replace(person, fixed=worst)
    return replace(person, bare_since_s=since_s, bare_seen_s=seen_s)


def _read_only(counts: Counter[Label]) -> Mapping[Label, int]:
    return MappingProxyType(dict(counts))


class OpenAlerts:
    """Keeps the unresolved alerts, oldest first, even if ``resolved`` events are turned off."""

    def __init__(self) -> None:
        self._open: dict[str, Event] = {}

    def update(self, events: Sequence[Event], still_open: Collection[str]) -> tuple[Event, ...]:
        """Adds the alerts in ``events`` and keeps those whose ids are in ``still_open``."""
        raised = (event for event in events if event.kind in (EventKind.NO_MASK, EventKind.INCORRECT))
        self._open.update({event.id: event for event in raised})
        self._open = {id_: event for id_, event in self._open.items() if id_ in still_open}
        return tuple(self._open.values())

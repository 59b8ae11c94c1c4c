"""Who was there and how they wore their masks: what a camera's frames are counted by, and which alerts are open."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.core.types import Counts, Event, EventKind, Label, Track
from app.pipeline.alert_policy import LONGEST_STEP_S

_WORST = (Label.NO_MASK, Label.INCORRECT)


@dataclass(frozen=True, slots=True)
class _Person:
    """What is known of one track: its last firm label, the label it stays counted by whatever comes later, and since
    when and until when it was last seen without a mask worn well, in stream times."""

    last: Label
    charged: Label | None = None
    poor_since_s: float | None = None
    poor_seen_s: float = 0.0

    @property
    def counts_as(self) -> Label:
        return self.charged or self.last


class PeopleCounter:
    """Counts people: one per track, by the last firm label it had; but who was bare, or wore the mask wrong, for the
    dwell time stays counted so, though they put it on later. Tracks never named for sure do not count."""

    def __init__(self) -> None:
        self._present: dict[int, _Person] = {}
        self._gone: Counter[Label] = Counter()
        self._poor: set[int] = set()

    def update(self, tracks: Sequence[Track], left: Sequence[Track], dwell_s: float, grace_s: float) -> Counts:
        """``dwell_s`` and ``grace_s`` as of the policy, but for every label and wherever in the picture."""
        for track in tracks:
            if track.label.label is not Label.UNSURE:
                longest_s = LONGEST_STEP_S if track.id in self._poor else grace_s
                self._present[track.id] = _seen(self._present.get(track.id), track, dwell_s, longest_s)
        self._poor = {track.id for track in tracks if track.label.label in _WORST}
        leaving = Counter(self._present.pop(track.id).counts_as for track in left if track.id in self._present)
        self._gone += leaving
        here = Counter(person.counts_as for person in self._present.values())
        now = Counter(track.label.label for track in tracks)
        return Counts(_fixed(now), _fixed(self._gone + here), _fixed(leaving), _fixed(here))


def _seen(person: _Person | None, track: Track, dwell_s: float, longest_s: float) -> _Person:
    """``longest_s``: a spell may go on after no more time than that without a sight of it."""
    label, seen_s = track.label.label, track.seen_s
    person = _Person(label) if person is None else replace(person, last=label)
    if label is Label.MASK:
        return replace(person, poor_since_s=None)
    since_s = person.poor_since_s
    if since_s is None or seen_s - person.poor_seen_s > longest_s:
        since_s = seen_s
    if seen_s - since_s >= dwell_s:
        worst = next(each for each in _WORST if each in (label, person.charged))
        person = replace(person, charged=worst)
    return replace(person, poor_since_s=since_s, poor_seen_s=seen_s)


def _fixed(counts: Counter[Label]) -> Mapping[Label, int]:
    return MappingProxyType(dict(counts))


class OpenAlerts:
    """The alerts that nothing has resolved yet, oldest first, whether or not their ends are told."""

    def __init__(self) -> None:
        self._open: dict[str, Event] = {}

    def update(self, events: Sequence[Event], still_open: Collection[str]) -> tuple[Event, ...]:
        """``still_open``: ids, of those before and of those of ``events``."""
        raised = (event for event in events if event.kind in (EventKind.NO_MASK, EventKind.INCORRECT))
        self._open.update({event.id: event for event in raised})
        self._open = {id_: event for id_, event in self._open.items() if id_ in still_open}
        return tuple(self._open.values())

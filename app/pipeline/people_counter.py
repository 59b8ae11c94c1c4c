"""The rule by which people are counted. Window, web view, statistics and metrics all use these counts.

Each person is counted once, from their first sure label on, by the label that ``_Person.counts_as`` says. It may still
change while they are in view; when they leave it is final and stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.core.types import Counts, Label, Track
from app.pipeline import dwell
from app.pipeline.dwell import Dwell

_WORST_FIRST = (Label.NO_MASK, Label.INCORRECT)


@dataclass(frozen=True, slots=True)
class _Person:
    """The state of one track. ``fixed`` is the label that it keeps in the counts, whatever follows. ``bare`` is its
    last period bare or incorrect."""

    last: Label
    fixed: Label | None = None
    bare: Dwell | None = None

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
        self._frame_s: float | None = None

    def update(
        self, time_s: float, tracks: Sequence[Track], left: Sequence[Track], dwell_s: float, grace_s: float
    ) -> Counts:
        """``time_s``: stream time of the frame. ``dwell_s`` and ``grace_s`` as in the policy, but for every label and
        outside the regions too. Tracks in ``left`` that are not confirmed were no people; they do not count."""
        for track in tracks:
            if track.seen_s == time_s and track.label.label is not Label.UNSURE:
                person = self._present.get(track.id, _Person(track.label.label))
                self._present[track.id] = _observed(person, track, self._frame_s, dwell_s, grace_s)
        self._frame_s = time_s
        ended = [(track, self._present.pop(track.id)) for track in left if track.id in self._present]
        leaving = Counter(person.counts_as for track, person in ended if track.confirmed)
        self._gone += leaving
        here = Counter(person.counts_as for person in self._present.values())
        now = Counter(track.label.label for track in tracks)
        return Counts(_read_only(now), _read_only(self._gone + here), _read_only(leaving), _read_only(here))


def _observed(person: _Person, track: Track, previous_frame_s: float | None, dwell_s: float, grace_s: float) -> _Person:
    label = track.label.label
    if label is Label.MASK:
        return replace(person, last=label, bare=None)
    bare = dwell.observe(person.bare, track.seen_s, previous_frame_s, grace_s)
    fixed = person.fixed
    if bare.lasted_s >= dwell_s:
        fixed = next(each for each in _WORST_FIRST if each in (label, fixed))
    return replace(person, last=label, bare=bare, fixed=fixed)


def _read_only(counts: Counter[Label]) -> Mapping[Label, int]:
    return MappingProxyType(dict(counts))

"""What is counted over the frames of one camera: people, and alerts still open."""

from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType

from app.domain import Counts, Event, EventKind, Label, Track


class Census:
    """Counts people: one per track, by the last firm label it had. Tracks never named for sure do not count."""

    def __init__(self) -> None:
        self._present: dict[int, Label] = {}
        self._gone: Counter[Label] = Counter()

    def update(self, tracks: Sequence[Track], left: Sequence[Track]) -> Counts:
        for track in tracks:
            if track.label.label is not Label.UNSURE:
                self._present[track.id] = track.label.label
        for track in left:
            label = self._present.pop(track.id, None)
            if label is not None:
                self._gone[label] += 1
        now = Counter(track.label.label for track in tracks)
        return Counts(MappingProxyType(dict(now)), MappingProxyType(dict(self._gone + Counter(self._present.values()))))


class OpenAlerts:
    """The alerts that nothing has resolved yet, oldest first. Alerts of tracks that left are closed by ``resolved``."""

    def __init__(self) -> None:
        self._open: dict[str, Event] = {}

    def update(self, events: Sequence[Event]) -> tuple[Event, ...]:
        for event in events:
            if event.kind is EventKind.RESOLVED:
                self._open.pop(event.resolves, None)
            elif event.kind in (EventKind.NO_MASK, EventKind.INCORRECT):
                self._open[event.id] = event
        return tuple(self._open.values())

"""Passes results, events and counts of a monitor to those who asked for them, in the thread of the dispatcher."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from app.core.camera_hours import CameraHour, Occupancy, hour_of
from app.core.types import Event, FrameResult, Label
from app.pipeline.dispatcher import Dispatcher
from app.pipeline.heartbeat import AwakeClock
from app.pipeline.watched_time import Activity, WatchedTime

ResultListener = Callable[[FrameResult], None]
EventListener = Callable[[Event, FrameResult | None], None]
"""Called with every event and its result; None if the event has no frame, for example a camera that is offline."""


class HourRecorder(Protocol):
    """Takes what the monitor counts. Files that are not to be counted are left out by the recorder."""

    def record(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        """Adds people and watched time. ``in_view``: who is in view of a camera now, which replaces what was said about
        this camera before. Called by one thread at a time."""

    def today(self, camera: str) -> Mapping[Label, int] | None:
        """The people that ``camera`` counted today, by label, also those in view; None if it is not counted by day.
        Must not wait."""

    def occupancy(self, camera: str) -> Occupancy | None:
        """What was counted at the lines of ``camera`` before, also by earlier runs."""

    def keep_occupancy(self, state: Occupancy) -> None:
        """Stores what was counted. Called by one thread at a time."""


class Listeners:
    """Each result goes to the recorder and the listeners, then its events go to the event listeners."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        on_result: Sequence[ResultListener],
        on_event: Sequence[EventListener],
        recorder: HourRecorder | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._on_result = tuple(on_result)
        self._on_event = tuple(on_event)
        self._recorder = recorder
        self._in_view: dict[str, CameraHour] = {}
        self._watched_time, self._awake = WatchedTime(), AwakeClock()

    def put(self, result: FrameResult) -> None:
        """Waits for room."""
        self._dispatcher.put(partial(self._pass_on, result))

    def report(self, event: Event) -> None:
        """Passes on an event without a frame."""
        self._dispatcher.put(partial(self._pass_on_event, event), wait=False)

    def put_occupancy(self, state: Occupancy, events: Iterable[Event], result: FrameResult | None = None) -> None:
        """With the events of the occupancy limit. Waits for room if there is a ``result``."""
        self._dispatcher.put(partial(self._pass_on_occupancy, state, events, result), wait=result is not None)

    def measure(self, wall_s: float, activities: Iterable[Activity]) -> None:
        """Adds to the watched time what the cameras do now, and passes it on when it is due. Call it several times a
        second, from one thread."""
        self._watched_time.step(self._awake.check(), wall_s, activities)
        if self._watched_time.is_due:
            self._dispatcher.put(partial(self._record, self._watched_time.take()), wait=False)

    def end_view(self, camera: str) -> None:
        """The people who are in view of ``camera`` are counted now: its next worker does not know them."""
        self._dispatcher.put(partial(self._record_rest, [camera]), wait=False)

    def finish(self) -> None:
        """Records the rest, after the dispatcher has ended."""
        self._record_rest(list(self._in_view))
        self._record(self._watched_time.take())

    # -- in the thread of the dispatcher ---------------------------------------------------------------------------

    def _pass_on(self, result: FrameResult) -> None:
        left, here = (_people_of(result, people) for people in (result.counts.leaving, result.counts.here))
        last = self._in_view.get(here.camera)
        self._in_view[here.camera] = here
        if left.people or here != last:
            self._record([left] if left.people else [], [here])
        for listener in self._on_result:
            listener(result)
        for event in result.events:
            self._pass_on_event(event, result)

    def _pass_on_event(self, event: Event, result: FrameResult | None = None) -> None:
        for listener in self._on_event:
            listener(event, result)

    def _pass_on_occupancy(self, state: Occupancy, events: Iterable[Event], result: FrameResult | None) -> None:
        if self._recorder is not None:
            self._recorder.keep_occupancy(state)
        for event in events:
            self._pass_on_event(event, result)

    def _record_rest(self, cameras: Iterable[str]) -> None:
        """Records the people who were in view of ``cameras`` at last: they are not in view any more."""
        rest = [self._in_view.pop(name) for name in cameras if name in self._in_view]
        if rest:
            self._record(
                [each for each in rest if each.people], [CameraHour(each.camera, each.hour_s) for each in rest]
            )

    def _record(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        if self._recorder is not None:
            self._recorder.record(hours, in_view)


def _people_of(result: FrameResult, people: Mapping[Label, int]) -> CameraHour:
    """``people``, as a part of the hour of ``result``."""
    masked, bare, incorrect = (people.get(label, 0) for label in (Label.MASK, Label.NO_MASK, Label.INCORRECT))
    return CameraHour(result.frame.camera, hour_of(result.frame.wall_s), masked, bare, incorrect)

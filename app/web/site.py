"""All that the pages and the API need, in one place, and what is told of it."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app import __version__
from app.alerts.delivery import AlertCenter
from app.alerts.hook import make_test_alert
from app.alerts.mutes import Mutes
from app.alerts.timeout_hook import LazyHook, TimeoutHook
from app.core.errors import HookError
from app.core.types import Event
from app.settings.alerts import AlertSettings, Channel
from app.settings.root import Settings
from app.settings.source import redact
from app.web.auth import Authenticator
from app.web.history import History
from app.web.mjpeg import LiveStreams, ViewSource
from app.web.schemas import EventRecord, Status, TestResult, camera_record, delivery_record, event_record
from app.web.sse import EventFeed, one_line

T = TypeVar("T")
WORKERS = 3
"""Threads that draw, read the disk and try channels, so that the event loop never waits."""


class Site:
    """One running web view."""

    def __init__(
        self, settings: Settings, monitor: ViewSource, center: AlertCenter, mutes: Mutes, token: str | None
    ) -> None:
        web = settings.web
        self.settings = settings
        self.monitor = monitor
        self.center = center
        self.mutes = mutes
        self.started_s = time.time()
        self.workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="web-worker")
        self.access = Authenticator(token, web.session_h * 3600)
        self.history = History(settings.alerts, center)
        self.pictures = LiveStreams(monitor, web, settings.view.blur, self.workers)
        self.feed = EventFeed(lambda: self.status().model_dump_json(), self._event_text, web.max_viewers)
        self.last_test: list[TestResult] = []
        self._testing = threading.Lock()
        self._trying: list[TimeoutHook] = []

    def renew(self, alerts: AlertSettings, center: AlertCenter) -> None:
        """Other channels, or another event file, from now on."""
        self.settings = self.settings.model_copy(update={"alerts": alerts})
        self.center = center
        self.history.renew(alerts, center)

    async def work(self, task: Callable[[], T]) -> T:
        """Runs what may wait in a worker."""
        return await asyncio.get_running_loop().run_in_executor(self.workers, task)

    def status(self) -> Status:
        """Everything as of now; waits for nothing."""
        views = self.monitor.views()
        alerts = sorted((event for view in views for event in view.alerts), key=lambda event: event.wall_s)
        return Status(
            version=__version__,
            started_s=self.started_s,
            now_s=time.time(),
            cameras=[camera_record(i, view, self.mutes.until_s(view.camera)) for i, view in enumerate(views, 1)],
            alerts=[event_record(each, False, self.history.recently_acknowledged(each.id)) for each in alerts],
            delivery=delivery_record(self.center.health()),
        )

    def camera_labels(self) -> list[str]:
        """The cameras' names, told apart by their places where two are the same."""
        names = [view.camera for view in self.monitor.views()]
        return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]

    def _event_text(self, event: Event) -> str:
        might_have_picture = self.settings.alerts.snapshots != "off" and event.box is not None
        record = event_record(event, might_have_picture, None)
        return one_line(record.model_dump(mode="json"))

    def event_records(self, events: Sequence[Event]) -> list[EventRecord]:
        """With what was kept of them; waits for the disk."""
        pictures = self.history.with_picture(events)
        acknowledged = self.history.acknowledged(events)
        return [event_record(each, each.id in pictures, acknowledged.get(each.id)) for each in events]

    def find_event(self, event_id: str) -> Event | None:
        """An open alert, or a kept event; may wait for the disk."""
        for view in self.monitor.views():
            for event in view.alerts:
                if event.id == event_id:
                    return event
        return self.history.event(event_id)

    def test_channels(self) -> list[TestResult] | None:
        """Sends a test alert through every channel, as 'maskwatch alerts test' does, and waits for each. None where
        another test is under way."""
        if not self._testing.acquire(blocking=False):
            return None
        try:
            channels = self.settings.alerts.channels
            self._trying = [TimeoutHook(LazyHook(channel), channel.timeout_s) for channel in channels]
            with ThreadPoolExecutor(max(1, len(channels)), "web-test") as pool:
                return list(pool.map(_test, channels, self._trying))
        finally:
            self._trying = []
            self._testing.release()

    def close(self, wait: bool) -> None:
        """Ends the workers; a channel that is being tried is left behind."""
        for hook in self._trying:
            hook.abort()
        self.workers.shutdown(wait=wait, cancel_futures=True)


def _test(channel: Channel, hook: TimeoutHook) -> TestResult:
    try:
        hook.send(make_test_alert(channel.name))
    except HookError as error:
        return TestResult(channel=channel.name, ok=False, error=redact(str(error)))
    return TestResult(channel=channel.name, ok=True, error="")

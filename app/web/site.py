"""State that the pages and the API share, and its conversion to API records."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

from app import __version__
from app.alerts.day_counts import day_start_s
from app.alerts.delivery import AlertCenter
from app.alerts.hook import make_test_alert
from app.alerts.marks import Marks, Verdict
from app.alerts.mutes import Mutes
from app.alerts.store_types import StoreError
from app.alerts.timeout_hook import LazyHook, TimeoutHook
from app.core.errors import HookError
from app.core.files import is_file
from app.core.images import jpeg_bytes, jpeg_image
from app.core.secrets import redact
from app.core.types import Box, Event
from app.review.clips import VIDEO
from app.review.collected import CollectedFaces
from app.review.picture_folder import PictureFolder
from app.settings.alerts import Channel
from app.settings.root import Settings
from app.settings.web import people_file, read_token
from app.ui.canvas import blur_faces
from app.web.auth import Authenticator
from app.web.history import History
from app.web.mjpeg import LiveStreams, ViewSource
from app.web.passwords import Passwords
from app.web.people import LOCAL, People, User
from app.web.schemas import EventRecord, Status, TestResult, camera_record, delivery_record, event_record
from app.web.setup import Setup
from app.web.sse import EventFeed, to_json_line

log = logging.getLogger(__name__)

T = TypeVar("T")
_MAX_TURNS = 100
WORKERS = 3
"""Threads that draw, read the disk and test channels, so that the event loop never blocks."""


class Site:
    """One running web view."""

    def __init__(
        self,
        settings: Settings,
        monitor: ViewSource,
        center: AlertCenter,
        mutes: Mutes,
        fleet_store: Path | None = None,
        passwords: Passwords | None = None,
    ) -> None:
        """``fleet_store``: the event file of a hub; None if this is none. Raises SettingsError if the token is missing
        or too weak, and StoreError if the file of the users cannot be read."""
        web, token = settings.web, read_token(settings.web)
        self.settings = settings
        self.monitor = monitor
        self.center = center
        self.mutes = mutes
        self.fleet_store = fleet_store
        self.started_s = time.time()
        self.workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="web-worker")
        self.people = open_people(settings, passwords)
        self._warn_of_unknown_cameras()
        is_open = web.is_loopback and not web.needs_users
        self.authenticator = Authenticator(token, web.session_h * 3600, people=self.people, is_open=is_open)
        self.history = History(settings.alerts, center)
        self.streams = LiveStreams(monitor, web, settings.view.blur, self.workers)
        self.feed = EventFeed(lambda user: self.status(user).model_dump_json(), self._event_json, web.max_viewers)
        self.turns: deque[str] = deque(maxlen=_MAX_TURNS)
        """Cameras to rotate by a quarter; the main thread carries it out."""
        self.setup = Setup()
        self.last_test: list[TestResult] = []
        self._testing = threading.Lock()
        self._test_hooks: list[TimeoutHook] = []

    def _warn_of_unknown_cameras(self) -> None:
        """A camera that got another name while nothing ran is not seen by the users of the old name."""
        names = {camera.name for camera in self.settings.camera}
        for account in self.people.accounts() if self.fleet_store is None else ():
            if missing := (account.cameras or frozenset()) - names:
                listed = ", ".join(sorted(missing))
                log.warning("user %s may see cameras that the settings do not have: %s; if they have other names now, "
                            "change that on the page Users", account.name, listed)  # fmt: skip

    def reload(self, settings: Settings, center: AlertCenter) -> None:
        """Replaces the settings and the alert center."""
        self.settings = settings
        self.center = center
        self.history.reload(settings.alerts, center)
        self.streams.blur = settings.view.blur

    @property
    def clips(self) -> PictureFolder:
        return PictureFolder(self.settings.clips.folder_of(self.settings.alerts.store))

    @property
    def collected(self) -> CollectedFaces:
        return CollectedFaces(PictureFolder(self.settings.collect.folder_of(self.settings.alerts.store)))

    async def run_in_worker(self, task: Callable[[], T]) -> T:
        """Runs a blocking ``task`` in a worker thread."""
        # The context holds the language of the request
        return await asyncio.get_running_loop().run_in_executor(self.workers, copy_context().run, task)

    def status(self, user: User = LOCAL) -> Status:
        """The current state as far as ``user`` may see it; does not block."""
        views = self.monitor.views()
        seen = [(i, view) for i, view in enumerate(views, 1) if user.sees(view.camera)]
        alerts = sorted((event for _, view in seen for event in view.open_alerts), key=lambda event: event.wall_s)
        delivery = delivery_record(self.center.health())
        if user.cameras is not None:  # the numbers of the channels are those of all cameras
            delivery = delivery.model_copy(update={"channels": []})
        return Status(
            version=__version__,
            started_s=self.started_s,
            now_s=time.time(),
            day_s=day_start_s(time.time()),
            cameras=[camera_record(i, view, self.mutes.until_s(view.camera)) for i, view in seen],
            alerts=[
                event_record(each, False, False, Marks(self.history.recently_acknowledged(each.id))) for each in alerts
            ],
            delivery=delivery,
        )

    def counts(self, is_live: bool) -> bool:
        """Whether a camera is counted: live cameras are, files and the demo only if that is asked for."""
        return is_live or self.settings.alerts.store_files

    def camera_names(self, user: User = LOCAL) -> list[str]:
        """The cameras that ``user`` can choose: of a hub, of all that it knows. May read from disk."""
        names = [view.camera for view in self.monitor.views()]
        if self.fleet_store is not None:
            from app.fleet.hub_store import HubStore, camera_rows

            with closing(HubStore(self.fleet_store, create=False)) as store:
                names += [f"{row.site}/{row.camera}" for row in camera_rows(store, time.time())]
        return [name for name in names if user.sees(name)]

    def _event_json(self, event: Event) -> str:
        may_have_snapshot = self.settings.alerts.snapshots != "off" and event.box is not None
        record = event_record(event, may_have_snapshot, False, Marks())
        return to_json_line(record.model_dump(mode="json"))

    def event_records(self, events: Sequence[Event]) -> list[EventRecord]:
        """API records of ``events`` with snapshots, clips and marks; reads from disk."""
        with_snapshot = self.history.ids_with_snapshot(events)
        marks = self.history.marks(events)
        return [
            event_record(each, each.id in with_snapshot, self.clips.has(each.id, VIDEO), marks.get(each.id, Marks()))
            for each in events
        ]

    def judge(self, event_id: str, verdict: str, label: str, actor: str) -> Marks:
        """Stores a verdict on an event, also with its face if that was collected."""
        with self.history.marking:
            marks = self.history.judge(event_id, verdict, label, actor)
            try:
                self.collected.judge(event_id, verdict, label)
            except OSError as error:
                log.warning("cannot store the verdict with the collected face: %s", error.strerror or error)
        return marks

    def label_face(self, face_id: str, label: str, box: Box | None, actor: str) -> bool:
        """Stores what a person says about a collected face, and with its event if it has one. False if there is no such
        face. Raises OSError, or ValueError if ``box`` cannot be used."""
        face = self.collected.find(face_id)
        if face is None:
            return False
        if box is not None and box != face.box:
            self.collected.set_box(face, box)
        verdict = face.verdict_for(label)
        right_label = label if verdict == Verdict.WRONG_LABEL else ""
        with self.history.marking:
            self.collected.judge(face_id, verdict, right_label)
            if face.reason in ("event", "verdict") and self.find_event(face_id) is not None:
                self.history.judge(face_id, verdict, right_label, actor)
        return True

    def find_event(self, event_id: str) -> Event | None:
        """An open alert or a stored event, or None; may read from disk."""
        for view in self.monitor.views():
            for event in view.open_alerts:
                if event.id == event_id:
                    return event
        return self.history.event(event_id)

    def blurred_snapshot(self, event_id: str) -> bytes | None:
        """The snapshot of an event without any face; None if there is none."""
        event, jpeg = self.history.event(event_id), self.history.snapshot(event_id)
        image = jpeg_image(jpeg) if jpeg else None
        if image is None or event is None:
            return None
        if event.box is not None:  # in an image of another size, if the camera has a main stream
            height, width = image.shape[:2]
            across, down = width / (event.frame_width_px or width), height / (event.frame_height_px or height)
            blur_faces(image, [event.box.stretched(across, down)])
        return jpeg_bytes(image, 80)

    def test_channels(self) -> list[TestResult] | None:
        """Sends a test alert to every channel and waits for the results; None if another test is running."""
        if not self._testing.acquire(blocking=False):
            return None
        try:
            channels = self.settings.alerts.channels
            self._test_hooks = [TimeoutHook(LazyHook(channel), channel.timeout_s) for channel in channels]
            with ThreadPoolExecutor(max(1, len(channels)), "web-test") as pool:
                return list(pool.map(_test, channels, self._test_hooks))
        finally:
            self._test_hooks = []
            self._testing.release()

    def close(self, wait: bool) -> None:
        """Stops the workers and aborts a running channel test."""
        for hook in self._test_hooks:
            hook.abort()
        self.setup.close(wait)
        self.workers.shutdown(wait=wait, cancel_futures=True)
        if wait:  # a worker may still read it
            self.people.close()


def open_people(settings: Settings, passwords: Passwords | None = None) -> People:
    """The users and the audit log. They are kept in memory if nothing is stored and nobody has to sign in, or if
    the disk cannot be written. Raises StoreError."""
    path = people_file(settings.alerts.store)
    if not (is_file(path) or settings.alerts.persist or settings.web.needs_users):
        return People(None, passwords, settings.web.audit_days)
    try:
        return People(path, passwords, settings.web.audit_days)
    except StoreError as error:
        if is_file(path):
            raise
        log.warning("%s; users and the audit log are kept only while maskwatch runs", error)
        return People(None, passwords, settings.web.audit_days)


def _test(channel: Channel, hook: TimeoutHook) -> TestResult:
    try:
        hook.send(make_test_alert(channel.name))
    except HookError as error:
        return TestResult(channel=channel.name, ok=False, error=redact(str(error)))
    return TestResult(channel=channel.name, ok=True, error="")

"""A fake monitor, and a running web view on a free port of the loopback interface."""

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from argon2 import PasswordHasher

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.mutes import Mutes
from app.alerts.store_types import StoreError
from app.capture.capture import SourceState, SourceStatus
from app.core.types import Box, Counts, Event, EventKind, FaceLabel, Frame, Label, StageTimes, Track
from app.pipeline.camera import DOWN_STATES, CameraView
from app.settings.load import load_settings
from app.settings.root import Settings
from app.web.passwords import Passwords
from app.web.server import WebServer
from app.web.site import Site

LIMIT_S = 60.0
"""Time limit of waits; long, because a test machine may be slow or suspended."""
CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
"""Hashes in less than a millisecond."""
TOKEN = "a-token-of-many-letters-0123456789"


def make_event(number: int = 1, kind: EventKind = EventKind.NO_MASK, camera: str = "door", **more: Any) -> Event:
    fields: dict[str, Any] = {"wall_s": time.time() - 60 + number, "track_id": 3, "box": Box(10, 10, 40, 40)}
    return Event(f"run-{camera}-{number}", kind, camera, 1.0 * number, confidence=0.9, duration_s=2.0, **fields | more)


class FakeMonitor:
    """Cameras whose frames change when a test calls ``step`` or ``change``."""

    def __init__(self, *names: str) -> None:
        self._lock = threading.Lock()
        self._views = [self._initial_view(name) for name in names or ("door",)]
        self.view_calls = 0
        self.shown: set[int] = set()

    def without_cameras(self) -> "FakeMonitor":
        self._views = []
        return self

    def _initial_view(self, name: str) -> CameraView:
        status = SourceStatus(name, SourceState.LIVE, 0.0, fps=25.0, frames=100, reconnects=2)
        label = FaceLabel(Label.NO_MASK, 0.9)
        track = Track(3, Box(20, 20, 60, 60), label, (0.0, 0.0), 0.0, 1.0, 9, 5, True)
        counts = Counts({Label.NO_MASK: 1}, {Label.MASK: 4, Label.NO_MASK: 1})
        frame = Frame(self.image(0), 0, 0.0, time.monotonic(), time.time(), name)
        times = StageTimes(0.01, 0.02, 0.03)
        return CameraView(name, status, True, frame, (track,), counts, (), 0.05, 24.0, 7, times)

    @staticmethod
    def image(number: int, size: tuple[int, int] = (120, 160)) -> Any:
        return np.random.default_rng(number).integers(60, 255, (*size, 3), np.uint8)

    def views(self) -> list[CameraView]:
        with self._lock:
            self.view_calls += 1
            return list(self._views)

    def show(self, indices: Iterable[int]) -> None:
        self.shown = set(indices)

    def change(self, index: int = 0, **changes: Any) -> None:
        with self._lock:
            self._views[index] = replace(self._views[index], **changes)

    def remove(self, index: int) -> None:
        with self._lock:
            del self._views[index]

    def add(self, view: CameraView) -> None:
        """As the first camera."""
        with self._lock:
            self._views.insert(0, view)

    def step(self, number: int, index: int = 0, size: tuple[int, int] = (120, 160)) -> None:
        """Publishes a new frame."""
        name = self._views[index].camera
        now_s = time.monotonic()
        self.change(index, frame=Frame(self.image(number, size), number, number / 10, now_s, time.time(), name))

    def state(self, state: SourceState, error: str = "", index: int = 0) -> None:
        status = replace(self._views[index].status, state=state, last_error=error)
        self.change(index, status=status, down_since_s=time.time() - 90 if state in DOWN_STATES else None)


@dataclass(frozen=True, slots=True)
class Running:
    """A running web view and its parts."""

    server: WebServer
    monitor: FakeMonitor
    center: AlertCenter
    mutes: Mutes
    settings: Settings

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.base, timeout=LIMIT_S, **{"verify": False, **more})  # no certificates to load

    def get(self, path: str) -> httpx.Response:
        """The response to one request on a new connection."""
        return httpx.get(f"{self.base}{path}", timeout=LIMIT_S)

    def connect(self) -> socket.socket:
        """A new connection, for what no client sends."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)

    @contextmanager
    def browser(self) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
        """A client with a session cookie, and the CSRF header for its POST requests."""
        with self.client() as client:
            yield client, {"X-CSRF-Token": client.get("/api/v1/session").json()["csrf"]}

    def add_event(self, event: Event, jpeg: bytes | None = None) -> Event:
        """Submits an event and waits until it is on disk."""
        self.center.submit(event, jpeg)
        if self.settings.alerts.persist:
            wait_until(lambda: self._is_stored(event))  # ``submit`` waits for 50 ms at most
        self.server.publish(event)
        return event

    def _is_stored(self, event: Event) -> bool:
        with suppress(StoreError), EventStore(self.settings.alerts.store, create=False) as store:
            return any(each.id == event.id for each in store.events())
        return False


@contextmanager
def serving(
    folder: Path,
    monitor: FakeMonitor | None = None,
    alerts: Any = None,
    is_hub: bool = False,
    cameras: Any = None,
    **web: Any,
) -> Iterator[Running]:
    """A running web view, of a hub if ``is_hub``; asserts that none of its threads survives."""
    before = set(threading.enumerate())
    web_settings = {"enabled": True, "port": 0, **web}
    alert_settings = {"store": folder / "events.db", **(alerts or {})}
    settings = load_settings(
        None, {"web": web_settings, "alerts": alert_settings, **({"camera": cameras} if cameras else {})}
    )
    monitor = monitor or FakeMonitor()
    mutes = Mutes()
    center = AlertCenter(settings.alerts, hold_back=mutes.hold_back)
    server = WebServer(Site(settings, monitor, center, mutes, settings.alerts.store if is_hub else None, CHEAP))
    center.start()
    try:
        server.start()
        yield Running(server, monitor, center, mutes, settings)
    finally:
        stuck = server.stop(LIMIT_S)
        center.close(LIMIT_S)
    assert stuck == []
    wait_until(lambda: set(threading.enumerate()) <= before)  # no thread survives


def wait_until(condition: Any, limit_s: float = LIMIT_S) -> Any:
    end_s = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "the condition did not become true in time"
        time.sleep(0.02)
    return found

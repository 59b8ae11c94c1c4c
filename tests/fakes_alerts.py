"""Real peers on loopback: an HTTP server with planned failures, an MQTT broker, a silent TCP server."""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fakes_net import free_port

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.hook import Alert
from app.alerts.store_types import Delivery, Status, WriteBatch
from app.core.camera_hours import CameraHour, hour_of
from app.core.types import Box, Event, EventKind
from app.settings.alerts import AlertSettings

LIMIT_S = 60.0
"""How long a test waits for something that should happen at once. Long, because the machine may be busy."""
HANG_S = 150.0
"""How long a hanging fake hangs if it is not stopped: longer than any wait in a test."""
BROKER = """
import asyncio, sys
from amqtt.broker import Broker
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

wait_disconnect = BrokerProtocolHandler.wait_disconnect

async def wait_delivered(handler):  # amqtt drops what a client published shortly before it disconnects
    packet = await wait_disconnect(handler)
    while handler.session is not None and not handler.session.delivered_message_queue.empty():
        await asyncio.sleep(0.01)
    return packet

BrokerProtocolHandler.wait_disconnect = wait_delivered

async def main():
    anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}}
    await Broker({"listeners": listeners, "plugins": anonymous}).start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
_numbers = itertools.count(1)


def record_people(
    center: AlertCenter, camera: str, wall_s: float, masked: int = 0, bare: int = 0, incorrect: int = 0
) -> None:
    """Adds people to the hour of ``wall_s``."""
    center.add_hours([CameraHour(camera, hour_of(wall_s), masked, bare, incorrect)])


def make_event(kind: EventKind = EventKind.NO_MASK, camera: str = "door", wall_s: float | None = None) -> Event:
    number = next(_numbers)
    when_s = time.time() if wall_s is None else wall_s
    return Event(f"event-{number}", kind, camera, 1.5, when_s, number, 0.875, 2.5, Box(10.0, 20.0, 30.0, 40.0))


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Polls ``condition``; fails after ``limit_s``."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "the condition was not met in time"
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Request:
    headers: dict[str, str]
    body: bytes


class HttpPeer(ThreadingHTTPServer):
    """Responds with one entry of ``plan`` per request, then with ``rest``: a status code, ``hang`` (no response),
    ``close`` (closes the connection), ``trickle`` (header bytes one by one) or ``busy`` (503 with Retry-After: 1)."""

    daemon_threads = False

    def __init__(self, *plan: int | str, rest: int | str = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook/token-in-path"
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.rest = rest
        self.text = b"text"
        self._plan = list(plan)
        self._lock = threading.Lock()

    def record(self, request: Request) -> int | str:
        with self._lock:
            self.requests.append(request)
            return self._plan.pop(0) if self._plan else self.rest

    def keys(self) -> list[str]:
        with self._lock:
            return [request.headers["idempotency-key"] for request in self.requests]

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that disconnect, which these tests expect."""

    @contextmanager
    def running(self) -> Iterator["HttpPeer"]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, name="peer")
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            self.shutdown()
            self.server_close()  # joins all request threads
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HttpPeer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.record(Request(headers, body))
        self.close_connection = True
        if answer == "hang":
            self.server.closing.wait(HANG_S)
        elif answer == "trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"x")
        elif answer == "close":
            return
        else:
            self.send_response(503 if answer == "busy" else int(answer))
            if answer == "busy":
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(self.server.text)))
            self.end_headers()
            self.wfile.write(self.server.text)

    def log_message(self, format: str, *args: object) -> None:
        """Disables the log."""


@contextmanager
def mqtt_broker(port: int = 0) -> Iterator[int]:
    """Runs a broker in its own process and yields its port."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", BROKER, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield port
    finally:
        process.kill()
        process.communicate()


@contextmanager
def silent_tcp() -> Iterator[int]:
    """Yields the port of a server that accepts connections and never sends data."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listener:
        yield int(listener.getsockname()[1])


FAST = {"retry_first_s": 0.01, "retry_max_s": 0.02}


@dataclass
class RecordingHook:
    """Records each alert; ``fault`` may raise before that."""

    fault: Callable[[Alert], None] = lambda _: None
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.fault(alert)
        self.alerts.append(alert)

    def abort(self) -> None:
        """Not needed: ``send`` is fast."""

    @property
    def ids(self) -> list[str]:
        return [alert.event.id for alert in self.alerts]


def channel(name: str = "a", **values: object) -> dict[str, object]:
    return {"kind": "plugin", "plugin": "replaced-by-the-test", "name": name, **values}


def settings(path: Path | None, *channels: dict[str, object], **values: object) -> AlertSettings:
    place = {"persist": False} if path is None else {"store": path}
    return AlertSettings.model_validate({**FAST, **place, "channels": channels or (channel(),), **values})


@contextlib.contextmanager
def running(center: AlertCenter) -> Iterator[AlertCenter]:
    """Starts ``center`` and closes it with a long limit, so that all due alerts are sent on a slow machine too."""
    center.start()
    try:
        yield center
    finally:
        center.close(LIMIT_S)


def statuses(path: Path) -> list[tuple[str, str]]:
    with EventStore(path) as store:
        return [(each.event.id, each.status.value) for each in store.deliveries()]


def resolving_event(alert: Event, wall_s: float) -> Event:
    kind = EventKind.CAMERA_RECOVERED if alert.kind is EventKind.CAMERA_OFFLINE else EventKind.RESOLVED
    return replace(make_event(kind, alert.camera, wall_s), resolves=alert.id)


@dataclass
class ShiftedClock:
    """The system clocks, ``ahead_s`` seconds fast from the next call of ``wall_s`` on: a change between the two calls
    would be a clock that was set."""

    ahead_s: float = 0.0
    _used_s: float = 0.0

    def wall_s(self) -> float:
        self._used_s = self.ahead_s
        return time.time() + self._used_s

    def monotonic_s(self) -> float:
        return time.monotonic() + self._used_s


@dataclass
class FakeClock:
    """``pass_s`` lets time pass; ``set_s`` sets the wall clock, as a person or a time server does."""

    wall: float
    monotonic: float = 1000.0

    def wall_s(self) -> float:
        return self.wall

    def monotonic_s(self) -> float:
        return self.monotonic

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def set_s(self, wall_s: float) -> None:
        self.wall = wall_s


def alert(event: Event | None = None, status: Status = Status.PENDING, jpeg: bytes | None = None) -> WriteBatch:
    event = event or make_event()
    return WriteBatch(((event, jpeg),), (Delivery(event, "hook", event.wall_s, event.wall_s, status),))

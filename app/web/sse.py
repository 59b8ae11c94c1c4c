"""Server-sent events for open pages: new events at once, the state of all cameras once a second."""

import asyncio
import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from app.core.types import Event
from app.web.mjpeg import run_until_disconnect

STATE_INTERVAL_S = 1.0
MAX_STORED_EVENTS = 200
"""Events stored for pages that reconnect."""


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    event: Event


class EventFeed:
    """``publish`` and ``counts`` are thread-safe; all other methods run in the event loop of the server."""

    def __init__(self, state: Callable[[], str], event_json: Callable[[Event], str], max_readers: int) -> None:
        """``state`` returns the current state as one line of JSON, ``event_json`` one event."""
        self._state = state
        self._event_json = event_json
        self._max_readers = max_readers
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque(maxlen=MAX_STORED_EVENTS)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._state_cache = (0.0, "")
        self._stopping = False
        self.readers = 0

    def publish(self, event: Event) -> None:
        """Sends ``event`` to every open page. Does not block."""
        with self._lock:
            self._number += 1
            self._entries.append(_Entry(self._number, event))
            self._counts[(event.camera, event.kind.value)] += 1
            loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # closed in the meantime: no page is open
                loop.call_soon_threadsafe(self._notify)

    def counts(self) -> dict[tuple[str, str], int]:
        """Number of events in this run by (camera, kind)."""
        with self._lock:
            return dict(self._counts)

    @property
    def last_number(self) -> int:
        """Number of the last event; 0 before the first."""
        with self._lock:
            return self._number

    @property
    def is_full(self) -> bool:
        return self.readers >= self._max_readers

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._loop = loop

    def stop(self) -> None:
        self._stopping = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _after(self, number: int) -> list[_Entry]:
        with self._lock:
            return [entry for entry in self._entries if entry.number > number]

    def _state_json(self, now_s: float) -> str:
        """The state, computed at most once a second for all readers."""
        if now_s - self._state_cache[0] >= STATE_INTERVAL_S * 0.9 or not self._state_cache[1]:
            self._state_cache = (now_s, self._state())
        return self._state_cache[1]

    async def send_to(self, send: Send, last: int | None) -> None:
        """Sends events until cancelled or stopped; ``last`` is the number of the last event that the page received."""
        loop = asyncio.get_running_loop()
        with self._lock:
            number = self._number if last is None or last > self._number else last
        text = "retry: 3000\n\n"
        state_s = float("-inf")
        while not self._stopping:
            changed = self._changed
            for entry in self._after(number):
                number = entry.number
                text += f"id: {number}\nevent: happening\ndata: {self._event_json(entry.event)}\n\n"
            if text or loop.time() - state_s >= STATE_INTERVAL_S:
                state_s = loop.time()
                text += f"event: state\ndata: {self._state_json(state_s)}\n\n"
            if text:
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                text = ""
            try:
                async with asyncio.timeout(max(0.01, state_s + STATE_INTERVAL_S - loop.time())):
                    await changed.wait()
            except TimeoutError:
                pass


class EventStreamResponse:
    """An ASGI response with server-sent events.

    ``after`` is the number of the last event of the page: browsers send Last-Event-ID only when they reconnect.
    """

    def __init__(self, feed: EventFeed, after: str = "") -> None:
        self._feed = feed
        self._after = after.encode("utf-8", "replace")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] != "HEAD":
            given = dict(scope["headers"]).get(b"last-event-id") or self._after
            last = int(given) if given.isdigit() and len(given) < 16 else None
            self._feed.readers += 1
            try:
                await run_until_disconnect(self._feed.send_to(send, last), receive)
            finally:
                self._feed.readers -= 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def to_json_line(value: object) -> str:
    """JSON without line breaks, as the data of a server-sent event must be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

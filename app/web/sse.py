"""Server-sent events for open pages: new events at once, the state of all cameras once a second."""

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from app.core.types import Event
from app.web.mjpeg import run_until_disconnect
from app.web.people import LOCAL, User

STATE_INTERVAL_S = 1.0
MAX_STORED_EVENTS = 200
"""Events stored for pages that reconnect."""


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    at_ms: int
    event: Event

    def id_for(self, user: User) -> int:
        """The id that ``user`` receives; a count of all events would say how many are hidden."""
        return self.number if user.cameras is None else self.at_ms


class EventFeed:
    """``publish`` and ``counts`` are thread-safe; all other methods run in the event loop of the server."""

    def __init__(self, state: Callable[[User], str], event_json: Callable[[Event], str], max_readers: int) -> None:
        """``state`` returns the current state for a user as one line of JSON, ``event_json`` one event."""
        self._state = state
        self._event_json = event_json
        self._max_readers = max_readers
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque(maxlen=MAX_STORED_EVENTS)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._states: dict[frozenset[str] | None, tuple[float, str]] = {}
        self._stopping = False
        self.readers = 0

    def publish(self, event: Event) -> None:
        """Sends ``event`` to every open page. Does not block."""
        with self._lock:
            self._number += 1
            at_ms = max(int(time.time() * 1000), self._entries[-1].at_ms + 1 if self._entries else 0)
            self._entries.append(_Entry(self._number, at_ms, event))
            self._counts[(event.camera, event.kind.value)] += 1
            loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # closed in the meantime: no page is open
                loop.call_soon_threadsafe(self._notify)

    def counts(self) -> dict[tuple[str, str], int]:
        """Number of events in this run by (camera, kind)."""
        with self._lock:
            return dict(self._counts)

    def last_id(self, user: User = LOCAL) -> int:
        """Id of the last event that ``user`` may see; 0 before the first."""
        with self._lock:
            seen = (entry.id_for(user) for entry in reversed(self._entries) if user.sees(entry.event.camera))
            return next(seen, 0)

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

    def _after(self, last: int, user: User) -> list[_Entry]:
        with self._lock:
            return [each for each in self._entries if each.id_for(user) > last and user.sees(each.event.camera)]

    def _state_json(self, now_s: float, user: User) -> str:
        """The state, computed at most once a second for all readers who see the same cameras."""
        self._states = {key: each for key, each in self._states.items() if now_s - each[0] < STATE_INTERVAL_S * 0.9}
        if user.cameras not in self._states:
            self._states[user.cameras] = (now_s, self._state(user))
        return self._states[user.cameras][1]

    async def send_to(self, send: Send, last: int | None, user: User = LOCAL) -> None:
        """Sends events until cancelled or stopped; ``last`` is the id of the last event that the page received."""
        loop = asyncio.get_running_loop()
        newest = self.last_id(user)
        number = newest if last is None or last > newest else last
        text = "retry: 3000\n\n"
        state_s = float("-inf")
        while not self._stopping:
            changed = self._changed
            for entry in self._after(number, user):
                number = entry.id_for(user)
                text += f"id: {number}\nevent: happening\ndata: {self._event_json(entry.event)}\n\n"
            if text or loop.time() - state_s >= STATE_INTERVAL_S:
                state_s = loop.time()
                text += f"event: state\ndata: {self._state_json(state_s, user)}\n\n"
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
                await run_until_disconnect(self._feed.send_to(send, last, scope["user"]), receive)
            finally:
                self._feed.readers -= 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def to_json_line(value: object) -> str:
    """JSON without line breaks, as the data of a server-sent event must be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

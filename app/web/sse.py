"""What has just happened, for pages that are open: new events at once, the state of all cameras once a second."""

import asyncio
import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from app.core.types import Event
from app.web.mjpeg import until_left

STATE_EVERY_S = 1.0
KEPT = 200
"""Events kept for pages that come back after a break."""


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    event: Event


class EventFeed:
    """``note`` may be called from any thread; all else belongs to the server's event loop."""

    def __init__(self, state: Callable[[], str], event_text: Callable[[Event], str], max_readers: int) -> None:
        """``state`` gives the state of everything as JSON, ``event_text`` an event."""
        self._state = state
        self._event_text = event_text
        self._max_readers = max_readers
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque(maxlen=KEPT)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._latest = (0.0, "")
        self._stopping = False
        self.readers = 0

    def note(self, event: Event) -> None:
        """Tells every open page of ``event``. Never waits."""
        with self._lock:
            self._number += 1
            self._entries.append(_Entry(self._number, event))
            self._counts[(event.camera, event.kind.value)] += 1
            loop = self._loop
        if loop is not None and not loop.is_closed():
            with suppress(RuntimeError):  # it was closed just now: nobody is left to be told
                loop.call_soon_threadsafe(self._wake)

    def counts(self) -> dict[tuple[str, str], int]:
        """Events of this run by camera and kind."""
        with self._lock:
            return dict(self._counts)

    @property
    def number(self) -> int:
        """Of the last event; 0 before the first."""
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
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _after(self, number: int) -> list[_Entry]:
        with self._lock:
            return [entry for entry in self._entries if entry.number > number]

    def _state_text(self, now_s: float) -> str:
        """Made once a second at most, however many read it."""
        if now_s - self._latest[0] >= STATE_EVERY_S * 0.9 or not self._latest[1]:
            self._latest = (now_s, self._state())
        return self._latest[1]

    async def send_to(self, send: Send, last: int | None) -> None:
        """Server-sent events until cancelled or all stops; ``last`` is the number of the last event the page had."""
        loop = asyncio.get_running_loop()
        with self._lock:
            number = self._number if last is None or last > self._number else last
        text = "retry: 3000\n\n"
        state_s = float("-inf")
        while not self._stopping:
            changed = self._changed
            for entry in self._after(number):
                number = entry.number
                text += f"id: {number}\nevent: happening\ndata: {self._event_text(entry.event)}\n\n"
            if text or loop.time() - state_s >= STATE_EVERY_S:
                state_s = loop.time()
                text += f"event: state\ndata: {self._state_text(state_s)}\n\n"
            if text:
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                text = ""
            try:
                async with asyncio.timeout(max(0.01, state_s + STATE_EVERY_S - loop.time())):
                    await changed.wait()
            except TimeoutError:
                pass


class EventStreamResponse:
    """An ASGI answer: server-sent events. ``after`` is the number of the last event that the page has: browsers send
    it by themselves only where a connection broke, not where the page made a new one."""

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
                await until_left(self._feed.send_to(send, last), receive)
            finally:
                self._feed.readers -= 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def one_line(value: object) -> str:
    """JSON without line ends, as an event's data must be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

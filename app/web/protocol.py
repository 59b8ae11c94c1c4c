"""Connections that cannot be held for nothing: bounded in number, in the time of a request and in stillness."""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_LIMIT_S = 15.0
"""A request must have arrived, head and body, that long after its first byte (and the first after connecting)."""


class GuardedProtocol(H11Protocol):
    """uvicorn's, with limits of its own: it has none for a client that connects and says nothing, sends its request
    a byte at a time, or stops taking what it asked for."""

    max_connections = 128
    stall_s = 20.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._waiting: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self.flow = _Flow(transport, self.stall_s, self.loop)
        if len(self.connections) > self.max_connections:
            self.logger.warning("web view: more than %d connections; one is refused", self.max_connections)
            transport.abort()
        else:
            self._await_request()

    def _await_request(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(REQUEST_LIMIT_S, self.transport.abort)

    def _request_came(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            self._request_came()
        else:
            self._await_request()

    def on_response_complete(self) -> None:
        self._request_came()  # from here on the limit of idle connections holds
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_came()
        super().connection_lost(exc)


class _Flow(FlowControl):
    """Cuts a peer off that takes nothing for ``stall_s`` while something waits for it."""

    def __init__(self, transport: asyncio.Transport, stall_s: float, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport)
        self._stall_s, self._loop = stall_s, loop
        self._abort = transport.abort
        self._timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._timer is None:
            self._timer = self._loop.call_later(self._stall_s, self._abort)

    def resume_writing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().resume_writing()


def guarded(max_connections: int, stall_s: float) -> type[GuardedProtocol]:
    """The protocol class with these limits."""
    limits = {"max_connections": max_connections, "stall_s": stall_s}
    return type("LimitedProtocol", (GuardedProtocol,), limits)

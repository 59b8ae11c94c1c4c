"""Connections that cannot be held for nothing: bounded in number, in the time of a request and in stillness."""

import asyncio
import math
import ssl
from contextlib import suppress

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_LIMIT_S = 15.0
"""A request must have arrived, head and body, that long after its first byte (and the first after connecting)."""
TELL_EVERY_S = 60.0
HANDSHAKE_LIMIT_S = 5.0
"""TLS must be agreed on that long after connecting, and its end that long after it was begun."""


class GuardedProtocol(H11Protocol):
    """uvicorn's, with limits of its own: it has none for a client that connects and says nothing, sends its request
    a byte at a time, or stops taking what it asked for. It also begins TLS: asyncio's servers tell of a connection
    only when that is done, and until then nobody would count it."""

    max_connections = 128
    stall_s = 20.0
    tls: ssl.SSLContext | None = None
    told_s = -math.inf
    """When it was last told that connections are refused; each server has a class of its own."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._waiting: asyncio.TimerHandle | None = None
        self._early: bytearray | None = None  # what comes with the end of a handshake, before uvicorn knows of it
        self.connections.add(self)
        self.transport = transport
        if len(self.connections) > self.max_connections:
            self._tell_of_refusals()
            transport.abort()
        elif self.tls is None:
            self._begin(transport)
        else:
            transport.pause_reading()  # the first bytes are the handshake's
            self._early = bytearray()
            self._handshake = self.loop.create_task(self._begin_tls(transport, self.tls))

    def _tell_of_refusals(self) -> None:
        """Once a minute: nobody can fill the log."""
        server, now_s = type(self), self.loop.time()
        if now_s - server.told_s >= TELL_EVERY_S:
            server.told_s = now_s
            self.logger.warning("web view: more than %d connections; more are refused", self.max_connections)

    async def _begin_tls(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        transport: asyncio.Transport | None = None
        with suppress(OSError):  # what a peer does wrong in the handshake, its time limit too
            transport = await self.loop.start_tls(
                plain,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_LIMIT_S,
                ssl_shutdown_timeout=HANDSHAKE_LIMIT_S,
            )
        early, self._early = bytes(self._early or b""), None
        if transport is None:  # it has failed, or was closed meanwhile: asyncio need not tell us of that again
            self.connection_lost(None)
            return
        self._begin(transport)
        if early:
            self.data_received(early)

    def _begin(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.flow = _Flow(transport, self.stall_s, self.loop)
        self._await_request()

    def _await_request(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(REQUEST_LIMIT_S, self.transport.abort)

    def _request_came(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            return
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


def guarded(max_connections: int, stall_s: float, tls: ssl.SSLContext | None) -> type[GuardedProtocol]:
    """The protocol class with these limits."""
    limits = {"max_connections": max_connections, "stall_s": stall_s, "tls": tls}
    return type("LimitedProtocol", (GuardedProtocol,), limits)

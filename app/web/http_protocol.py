"""Limits against denial of service: number of connections, time per request, stalled peers."""

import asyncio
import math
import socket
import ssl
from contextlib import suppress

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_LIMIT_S = 15.0
"""Time limit for a whole request, from its first byte or from connecting."""
WARN_EVERY_S = 60.0
UNSENT_BYTES = 1 << 16
HANDSHAKE_LIMIT_S = 5.0
"""Time limit for the TLS handshake, and for the TLS shutdown."""


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol with limits for silent, slow and stalled clients.

    It also starts TLS itself: asyncio reports a connection only after the handshake, too late to count it.
    """

    max_connections = 128
    stall_s = 20.0
    tls: ssl.SSLContext | None = None
    warned_s = -math.inf
    """Loop time of the last warning about refused connections; each server has its own class."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._timer: asyncio.TimerHandle | None = None
        self._early: bytearray | None = None  # bytes that arrive with the end of the handshake
        self.connections.add(self)
        self.transport = transport
        if len(self.connections) > self.max_connections:
            self._warn_about_refusals()
            transport.abort()
        elif self.tls is None:
            self._accept(transport)
        else:
            transport.pause_reading()  # the first bytes belong to the handshake
            self._early = bytearray()
            self._handshake = self.loop.create_task(self._start_tls(transport, self.tls))

    def _warn_about_refusals(self) -> None:
        """Warns at most once a minute, so that a client cannot fill the log."""
        server, now_s = type(self), self.loop.time()
        if now_s - server.warned_s >= WARN_EVERY_S:
            server.warned_s = now_s
            self.logger.warning(
                "web view: more than %d connections; new ones are refused; see web.max_connections",
                self.max_connections,
            )

    async def _start_tls(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        transport: asyncio.Transport | None = None
        with suppress(OSError):  # a failed handshake, also by its time limit
            transport = await self.loop.start_tls(
                plain,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_LIMIT_S,
                ssl_shutdown_timeout=HANDSHAKE_LIMIT_S,
            )
        early, self._early = bytes(self._early or b""), None
        if transport is None:  # asyncio does not report the end of a connection whose handshake failed
            self.connection_lost(None)
            return
        self._accept(transport)
        if early:
            self.data_received(early)

    def _accept(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        # What waits in the buffers of the system cannot be skipped, and is old when a slow viewer gets it.
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.flow = _StallLimit(transport, self.stall_s, self.loop)
        self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(REQUEST_LIMIT_S, self.transport.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            return
        super().data_received(data)
        if self.cycle is not None and not (self.cycle.more_body or self.cycle.response_complete):
            self._cancel_timer()
        else:
            self._start_timer()

    def on_response_complete(self) -> None:
        self._cancel_timer()  # the keep-alive limit applies from here on
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)


class _StallLimit(FlowControl):
    """Aborts a connection whose peer accepts no bytes for ``stall_s`` seconds."""

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


def make_protocol(max_connections: int, stall_s: float, tls: ssl.SSLContext | None) -> type[GuardedProtocol]:
    """The protocol class with these limits."""
    limits = {"max_connections": max_connections, "stall_s": stall_s, "tls": tls}
    return type("LimitedProtocol", (GuardedProtocol,), limits)

"""Publishes alerts to a stream of a NATS server, such as the hub of a fleet."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from app.alerts.hook import Alert
from app.alerts.nats_client import MESSAGE_ID, NODE, connected, import_nats, read_credentials, reason_of, subject_of
from app.core.errors import HookError
from app.settings.alerts import NatsChannel

if TYPE_CHECKING:
    from nats.aio.client import Client

log = logging.getLogger(__name__)

IDLE_S = 5.0
"""A connection is kept for so long after an alert: many wait after the link was down."""
_POLL_S = 0.2
_PRINTABLE = "".join(map(chr, range(33, 127)))
_HEADER_BYTES = 4096
"""Room for the headers, which the limit of the server includes."""


class NatsHook:
    """Success means that the stream has stored the alert, or had stored it before: of all with the same message id it
    keeps one. Without ``refresh``, which closes an idle connection, each alert has its own."""

    def __init__(self, channel: NatsChannel) -> None:
        """Raises HookError if a package is missing, SettingsError if the credentials cannot be read."""
        import_nats()
        self._channel = channel
        self._credentials = read_credentials(channel.creds_file) if channel.creds_file is not None else None
        self._runner: asyncio.Runner | None = None
        self._client: Client | None = None
        self._open = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._is_sending = self._keeps = False
        self._sent_s = 0.0

    def send(self, alert: Alert) -> None:
        self._is_sending = True
        try:
            self._runner = self._runner or asyncio.Runner()
            self._runner.run(self._send(alert))
            self._sent_s = time.monotonic()
        except BaseException:
            self._disconnect()
            raise
        finally:
            if not self._keeps:
                self._disconnect()
            self._is_sending = False

    async def _send(self, alert: Alert) -> None:
        self._task = asyncio.current_task()
        try:
            await self._publish(alert)
        except asyncio.CancelledError:  # by ``abort``
            raise HookError(f"NATS server {self._channel.url}: stopped") from None
        finally:
            self._task = None

    async def _publish(self, alert: Alert) -> None:
        from nats.errors import Error

        channel = self._channel
        client = await self._connected()
        headers = {MESSAGE_ID: quote(f"{channel.site}/{alert.idempotency_key}", safe=_PRINTABLE)}
        answer = asyncio.ensure_future(
            client.jetstream().publish(
                subject_of("event", channel.site, alert.event.camera),
                _payload(alert, client.max_payload - _HEADER_BYTES),
                timeout=channel.timeout_s,
                headers=headers | ({NODE: channel.node} if channel.node else {}),
            )
        )
        try:
            while not (await asyncio.wait((answer,), timeout=_POLL_S))[0]:
                if not client.is_connected:  # nats-py would wait for the answer to the end of the timeout
                    raise ConnectionError("the connection was lost")
            await answer
        except (Error, OSError, TimeoutError) as error:
            cause = client.last_error or error  # the server reports a forbidden subject beside the answer
            raise HookError(f"NATS server {channel.url}: {reason_of(cause)}") from None
        finally:
            answer.cancel()

    async def _connected(self) -> "Client":
        """The open connection, or a new one: the server may have closed it while no event loop ran."""
        await asyncio.sleep(0)
        if self._client is None or not self._client.is_connected:
            await self._open.aclose()
            channel = self._channel
            connection = connected(channel.url, self._credentials, channel.site, channel.timeout_s)
            self._client = await self._open.enter_async_context(connection)
        return self._client

    def refresh(self, cameras: Mapping[str, bool]) -> None:  # noqa: ARG002 - the protocol of a session
        self._keeps = True
        if time.monotonic() - self._sent_s > IDLE_S:
            self.close()

    def close(self) -> None:
        if not self._is_sending:  # an attempt that hangs ends by ``abort``
            self._disconnect()

    def _disconnect(self) -> None:
        runner, self._runner, self._client = self._runner, None, None
        if runner is not None:
            with runner:
                runner.run(self._open.aclose())

    def abort(self) -> None:
        runner, task, self._task = self._runner, self._task, None  # once: another would interrupt the end
        if runner is not None and task is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                runner.get_loop().call_soon_threadsafe(task.cancel)


def _payload(alert: Alert, most_bytes: int) -> bytes:
    """The alert as JSON, without its snapshot if that is too large: it would be refused for ever, and alerts are sent
    in order."""
    payload = alert.to_json().encode("utf-8", "backslashreplace")
    if len(payload) <= most_bytes or alert.snapshot_jpeg is None:
        return payload
    size_kb = len(alert.snapshot_jpeg) // 1000
    log.warning(
        "the snapshot of event %s has %d kB, too much for the NATS server; it is left out", alert.event.id, size_kb
    )
    return replace(alert, snapshot_jpeg=None).to_json().encode("utf-8", "backslashreplace")

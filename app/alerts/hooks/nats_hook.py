"""Publishes alerts to a stream of a NATS server, such as the hub of a fleet."""

import asyncio
from contextlib import suppress
from urllib.parse import quote

from app.alerts.hook import Alert
from app.alerts.nats_client import MESSAGE_ID, connected, import_nats, read_credentials, reason_of, subject_of
from app.core.errors import HookError
from app.settings.alerts import NatsChannel

_PRINTABLE = "".join(map(chr, range(33, 127)))


class NatsHook:
    """Connects for each alert, because alerts are rare and an idle connection may be lost unnoticed. Success means that
    the stream has stored the alert, or had stored it before: it keeps one of all with the same message id."""

    def __init__(self, channel: NatsChannel) -> None:
        """Raises HookError if a package is missing, SettingsError if the credentials cannot be read."""
        import_nats()
        self._channel = channel
        self._credentials = read_credentials(channel.creds_file) if channel.creds_file is not None else None
        self._sending: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def send(self, alert: Alert) -> None:
        asyncio.run(self._send(alert))

    async def _send(self, alert: Alert) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sending = asyncio.get_running_loop(), task
        try:
            await self._publish(alert)
        except asyncio.CancelledError:  # by ``abort``
            raise HookError(f"NATS server {self._channel.url}: stopped") from None
        finally:
            self._sending = None

    async def _publish(self, alert: Alert) -> None:
        from nats.errors import Error

        channel = self._channel
        message_id = quote(f"{channel.site}/{alert.idempotency_key}", safe=_PRINTABLE)
        async with connected(channel.url, self._credentials, channel.site, channel.timeout_s) as client:
            try:
                await client.jetstream().publish(
                    subject_of("event", channel.site, alert.event.camera),
                    alert.to_json().encode("utf-8", "backslashreplace"),
                    timeout=channel.timeout_s,
                    headers={MESSAGE_ID: message_id},
                )
            except (Error, OSError, TimeoutError) as error:
                cause = client.last_error or error  # the server reports a forbidden subject beside the answer
                raise HookError(f"NATS server {channel.url}: {reason_of(cause)}") from None

    def abort(self) -> None:
        sending, self._sending = self._sending, None  # once: a second one would interrupt the end of the connection
        if sending is not None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                sending[0].call_soon_threadsafe(sending[1].cancel)

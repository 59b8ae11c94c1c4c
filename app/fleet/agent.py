"""Reports a node's health and the totals of its cameras to the hub, and reads what the hub wants, in a thread of its
own."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from app.alerts.nats_client import connected, import_nats, read_credentials, subject_of
from app.alerts.store_types import EventFilter, StoreError
from app.core.camera_hours import CameraHour, hour_of
from app.core.errors import HookError, SettingsError
from app.fleet.leases import Leases
from app.fleet.messages import DESIRED, Desired, HourTotals, NodeHealth
from app.fleet.revisions import NodeRevisions
from app.settings.fleet import FleetSettings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

TOTALS_EVERY_S = 300.0
RESEND_S = 7 * 86_400
"""Totals of this time are sent again after a start: the hub may not have got them."""
LIMIT_S = 5.0
CLOSE_S = 1.0


class FleetAgent:
    """``start`` returns at once; the link may be down. ``health`` and ``hours`` are called by the thread."""

    def __init__(
        self,
        settings: FleetSettings,
        health: Callable[[], NodeHealth],
        hours: Callable[[EventFilter], list[CameraHour]],
        counts_as: str,
        leases: Leases | None = None,
        revisions: NodeRevisions | None = None,
    ) -> None:
        """``counts_as``: the origin of the totals, which never become less: the node, or the run if it stores nothing.
        ``leases``: of the cameras that are shared.

        Raises SettingsError if a package is missing or the credentials cannot be read."""
        try:
            import_nats()
        except HookError as error:
            raise SettingsError(str(error)) from error
        assert settings.creds_file is not None
        self._settings = settings
        self._credentials = read_credentials(settings.creds_file)
        self._health = health
        self._hours = hours
        self._counts_as = counts_as
        self._leases = leases
        self._revisions = revisions
        self._desired: Desired | None = None  # as last read
        self._sent: dict[tuple[str, int], CameraHour] = {}
        self._since_s = time.time() - RESEND_S
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> list[str]:
        """Sends the last totals if the link is up. Returns a message if the thread does not end in time."""
        self._is_closing = True
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(stop.set)
        self._thread.join(2 * CLOSE_S)
        return ["thread fleet is stuck"] if self._thread.is_alive() else []

    def _run(self) -> None:
        """Body of the thread. The monitor and the alerts do not need it."""
        asyncio.run(self._report())

    async def _report(self) -> None:
        """Connects again, after a pause that differs from node to node, until ``close``."""
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if self._is_closing:  # ``close`` was called before there was anything to set
            return
        fault, settings = "", self._settings
        while not self._stop.is_set():
            try:
                async with connected(settings.hub, self._credentials, settings.site, LIMIT_S) as client:
                    if fault:
                        log.warning("the hub %s can be reached again", settings.hub)
                    fault = ""
                    work = self._report_with(client, self._stop), self._follow(client)
                    tasks = [asyncio.create_task(each) for each in work]
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in tasks:
                        task.cancel()
                    for ended in await asyncio.gather(*tasks, return_exceptions=True):
                        if isinstance(ended, Exception):
                            raise ended
                    if self._leases is not None:
                        with suppress(TimeoutError):
                            await asyncio.wait_for(self._leases.release_all(client.jetstream()), CLOSE_S / 2)
            except (HookError, ConnectionError) as error:
                if not fault:
                    log.warning("no link to the hub; events are kept and sent later: %s", error)
                fault = str(error)
                await _wait(self._stop, settings.heartbeat_s * random.uniform(0.5, 1.5))
            except Exception:  # last resort of the thread
                log.exception("the link to the hub crashed; it is opened again")
                await _wait(self._stop, settings.heartbeat_s * random.uniform(0.5, 1.5))

    async def _follow(self, client: "Client") -> None:
        """Renews the leases, and checks what the hub wants in a task beside that, because a self-test takes seconds."""
        from nats.errors import Error

        stream, every_s = client.jetstream(timeout=LIMIT_S), self._settings.heartbeat_s
        if self._leases is not None:
            every_s = min(every_s, self._settings.lease_s / 3)
        checking: asyncio.Task[None] | None = None
        try:
            while client.is_connected:
                began_s = time.monotonic()
                try:
                    self._desired = await self._read_desired(stream)
                except (Error, TimeoutError, ValueError) as error:
                    log.debug("cannot read what the hub wants: %s", error)
                desired = self._desired
                if self._leases is not None and desired is not None:
                    failed = [name for name, state in self._health().cameras.items() if state == "failed"]
                    await self._leases.step(stream, desired, failed)
                if self._revisions is not None and desired is not None and (checking is None or checking.done()):
                    checking = asyncio.create_task(self._check(self._revisions, stream, desired))
                await asyncio.sleep(max(every_s - (time.monotonic() - began_s), 0.05))
            raise ConnectionError(self._lost(client))
        finally:
            if checking is not None:
                checking.cancel()

    async def _read_desired(self, stream: "JetStreamContext") -> Desired:
        from nats.js.errors import NotFoundError

        try:
            found = await stream.get_msg(f"KV_{DESIRED}", subject=f"$KV.{DESIRED}.{self._settings.site}", direct=True)
        except NotFoundError:
            return Desired()
        return Desired.model_validate_json(found.data or b"{}")

    async def _check(self, revisions: NodeRevisions, stream: "JetStreamContext", desired: Desired) -> None:
        from nats.errors import Error

        try:
            await revisions.offer(stream, desired)
        except (Error, TimeoutError) as error:
            log.info("what the hub sent is read again later: %s", error)

    async def _report_with(self, client: "Client", stop: asyncio.Event) -> None:
        """Raises ConnectionError when the connection is lost."""
        from nats.errors import Error

        subject = subject_of("health", self._settings.site, self._settings.node)
        next_totals_s = 0.0
        while client.is_connected:
            is_last = stop.is_set()  # not asked again: what changes while a report is sent needs another one
            try:
                await client.publish(subject, self._health().model_dump_json().encode())
                if is_last or time.monotonic() >= next_totals_s:
                    next_totals_s = time.monotonic() + TOTALS_EVERY_S
                    await self._send_totals(client, CLOSE_S / 2 if is_last else LIMIT_S)
                await client.flush(CLOSE_S if is_last else int(LIMIT_S))
            except (Error, TimeoutError) as error:
                raise ConnectionError(f"{self._settings.hub}: {client.last_error or error}") from error
            except StoreError as error:
                log.info("the totals are sent later: %s", error)
            if is_last:
                return
            await _wait(stop, self._settings.heartbeat_s)
        raise ConnectionError(self._lost(client))

    def _lost(self, client: "Client") -> str:
        return f"{self._settings.hub}: {client.last_error or 'the connection was lost'}"

    async def _send_totals(self, client: "Client", limit_s: float) -> None:
        """Sends the hours that have changed, one message a camera. Hours that are over are remembered no longer than
        they are read."""
        changed: dict[str, list[CameraHour]] = {}
        totals = _sums(self._hours(EventFilter(since_s=self._since_s)))
        for total in totals:
            if self._sent.get((total.camera, total.hour_s)) != total:
                changed.setdefault(total.camera, []).append(total)
        for camera, hours in changed.items():
            message = HourTotals(node=self._counts_as, hours=tuple(hours))
            subject = subject_of("count", self._settings.site, camera)
            await client.jetstream().publish(subject, message.model_dump_json().encode(), timeout=limit_s)
            self._sent.update({(hour.camera, hour.hour_s): hour for hour in hours})
        self._since_s = max(self._since_s, hour_of(time.time()) - 2 * 3600.0)
        self._sent = {key: hour for key, hour in self._sent.items() if key[1] >= self._since_s}


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _sums(hours: Iterable[CameraHour]) -> list[CameraHour]:
    """One record for each hour of a camera: those that are not stored yet are separate."""
    sums: dict[tuple[str, int], CameraHour] = {}
    for hour in hours:
        key = hour.camera, hour.hour_s
        sums[key] = sums[key].plus(hour) if key in sums else hour
    return list(sums.values())

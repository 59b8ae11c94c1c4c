"""The hub: stores what the sites send, and watches which nodes are silent. One event loop, no threads of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.alerts.delivery import AlertCenter
from app.alerts.earlier_runs import latest_of_parts
from app.alerts.nats_client import NODE, name_in
from app.alerts.part_watch import PartWatch, faults_of_alerts
from app.alerts.store_types import StoreError
from app.core.errors import HookError
from app.fleet.hub_folder import HubFolder
from app.fleet.hub_store import SAVE_NODES_S, HubStore, SiteEvent, read_event
from app.fleet.messages import DESIRED, LEASES, MODELS, STREAM, HourTotals, NodeHealth
from app.fleet.node_watch import NodeWatch
from app.fleet.server import HubServer
from app.settings.alerts import AlertSettings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

SUBJECTS = ("mw.event.*.*", "mw.count.*.*")
MAX_STREAM_BYTES = 1 << 30
"""When so much is not stored by the hub, the server refuses more, and the outboxes of the sites keep it."""
MAX_LEASES_BYTES = 1 << 26
DUPLICATE_WINDOW_S = 3600.0
BATCH = 1000
ACK_WAIT_S = 30.0
RETRY_S = 2.0
CHECK_S = 0.5
MAX_REFUSED_LOGGED = 20


class Hub:
    """``center`` sends the events of nodes and of the hub's own parts; the sites send their own."""

    def __init__(self, folder: HubFolder, server: HubServer, center: AlertCenter) -> None:
        self._folder = folder
        self._server = server
        self._center = center
        self._store = HubStore(folder.store)
        self._watch = NodeWatch()
        self._parts = PartWatch("hub ", latest_of_parts(AlertSettings(store=folder.store)))
        self._seen: dict[str, tuple[float, NodeHealth]] = {}  # not written yet
        self._saved_s = time.monotonic()
        self._refused: set[str] = set()
        self._settings_mtime = self._mtime()
        for node in self._store.nodes():
            self._watch.restore(node.name, node.health, self._store.last_node_event(node.name), time.monotonic())

    async def run(self, stopped: Callable[[], bool]) -> None:
        """Runs until ``stopped``, which is called often. Connects again after any fault of the server or the disk.

        Raises MonitorError if the server does not start."""
        from nats.errors import Error

        fault = ""
        while not stopped():
            try:
                async with self._server.connection() as client:
                    log.warning("the hub receives at %s", self._folder.local_url)
                    fault = ""
                    await self._serve(client, stopped)
            except (HookError, StoreError, ConnectionError, TimeoutError, Error) as error:
                if str(error) != fault:
                    log.warning("the hub will try again: %s", error)
                fault = str(error)
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        with suppress(StoreError):
            self._store.save_nodes(self._seen)
        self._store.close()

    async def _serve(self, client: "Client", stopped: Callable[[], bool]) -> None:
        """Returns when ``stopped``. Raises ConnectionError when the connection is lost, StoreError."""
        received: asyncio.Queue[Msg] = asyncio.Queue()
        await self._subscribe(client, received)
        await client.subscribe("mw.health.*.*", cb=self._hear)
        while not stopped():
            if not client.is_connected:
                raise ConnectionError("the connection to the server was lost")
            batch: list[Msg] = []
            with suppress(TimeoutError):
                batch.append(await asyncio.wait_for(received.get(), CHECK_S))
            while len(batch) < BATCH and not received.empty():
                batch.append(received.get_nowait())
            if batch:
                self._store_batch(batch)
                for message in batch:  # only now: an event that is not stored is delivered again
                    await message.ack()
            self._check_nodes()
            self._check_settings()

    async def _subscribe(self, client: "Client", received: "asyncio.Queue[Msg]") -> None:
        """Receives all that is in the stream. The server deletes a message when it is acknowledged, so a new consumer
        begins with what was not stored by an earlier one."""
        from nats.errors import Error
        from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig

        jetstream = client.jetstream()
        config = StreamConfig(
            name=STREAM,
            subjects=list(SUBJECTS),
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.NEW,
            max_bytes=MAX_STREAM_BYTES,
            duplicate_window=DUPLICATE_WINDOW_S,
        )
        leases = (
            StreamConfig(  # a usual bucket would allow rollups, with which a site can delete the keys of all others
                name=f"KV_{LEASES}",
                subjects=[f"$KV.{LEASES}.>"],
                max_msgs_per_subject=1,
                max_bytes=MAX_LEASES_BYTES,
                discard=DiscardPolicy.NEW,
                allow_direct=True,
                allow_msg_ttl=True,
            )
        )
        try:
            await jetstream.add_stream(config)
            await jetstream.add_stream(leases)
            await jetstream.create_key_value(bucket=DESIRED, direct=True)
            await jetstream.create_object_store(MODELS, max_bytes=MAX_STREAM_BYTES)
            with suppress(Error):  # there is none yet
                await jetstream.delete_consumer(STREAM, "hub")
            await jetstream.subscribe(
                "mw.>",
                durable="hub",
                stream=STREAM,
                cb=received.put,
                manual_ack=True,
                config=ConsumerConfig(ack_wait=ACK_WAIT_S, max_ack_pending=2 * BATCH),
            )
        except Error as error:
            raise HookError(f"the stream {STREAM} cannot be used: {error}") from error

    def _store_batch(self, batch: "Sequence[Msg]") -> None:
        """Raises StoreError. A message that is none of ours is logged and dropped."""
        events: list[SiteEvent] = []
        totals: list[tuple[str, HourTotals]] = []
        for message in batch:
            try:
                kind, site, camera = name_in(message.subject)
                if kind == "count":
                    totals.append((f"{site}/{camera}", HourTotals.model_validate_json(message.data)))
                elif (event := read_event(site, camera, message.data)) is not None:
                    events.append(replace(event, node=(message.headers or {}).get(NODE, "")))
            except (ValueError, KeyError, TypeError) as error:
                self._refuse(message.subject, error)
        self._store.write(events, totals, time.time())

    def _refuse(self, subject: str, error: Exception) -> None:
        if subject not in self._refused and len(self._refused) < MAX_REFUSED_LOGGED:
            self._refused.add(subject)
            what = f"{error.error_count()} errors" if isinstance(error, ValidationError) else type(error).__name__
            log.warning("a message on %s cannot be read and is dropped (%s)", subject, what)

    async def _hear(self, message: "Msg") -> None:
        try:
            _, site, node = name_in(message.subject)
            health = NodeHealth.model_validate_json(message.data)
        except ValueError as error:
            self._refuse(message.subject, error)
            return
        name, wall_s = f"{site}/{node}", time.time()
        self._seen[name] = wall_s, health
        if (event := self._watch.heard(name, health, time.monotonic(), wall_s)) is not None:
            log.warning("node %s is back", name)
            self._center.submit(event)

    def _check_nodes(self) -> None:
        now_s = time.monotonic()
        for event in self._watch.silent(now_s, time.time()):
            log.warning("node %s is offline: %s", event.camera, event.reason)
            self._center.submit(event)
        for event in self._parts.check(faults_of_alerts(self._center.health()), now_s, time.time()):
            self._center.submit(event)
        if self._seen and now_s - self._saved_s >= SAVE_NODES_S:
            seen, self._seen, self._saved_s = self._seen, {}, now_s
            self._store.save_nodes(seen)

    def _check_settings(self) -> None:
        """A server reads revoked keys only when it starts."""
        mtime = self._mtime()
        if mtime != self._settings_mtime:
            self._settings_mtime = mtime
            self._server.stop()

    def _mtime(self) -> float:
        try:
            return self._folder.server_file.stat().st_mtime
        except OSError:
            return 0.0
